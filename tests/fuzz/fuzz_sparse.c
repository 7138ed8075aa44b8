/* Tensors in parts on any bytes: put together, then decoded, packed for the kernels and read back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_parts.h"
#include "format/gguf_sparse.h"
#include "kernel/sparse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of tensors that were accepted. */
static void require(bool ok) {
    if (!ok) abort();
}

static void pack(const bk_sparse *s) {
    uint64_t *at = bk_alloc(bk_sparse_strips(s) + 1, sizeof *at);
    float *row = bk_alloc(s->k, sizeof *row);
    bk_packed p;
    if (at && row && bk_packed_init_sparse(&p, s, at)) {
        p.data = bk_alloc_aligned(bk_packed_bytes(&p));
        if (p.data) {
            require(bk_pack_sparse(&p, s));
            bk_packed_row(&p, s->n_rows - 1, row);
        }
        bk_free(p.data);
    }
    bk_free(row);
    bk_free(at);
}

static void touch(const bk_gguf *g, const bk_gguf_tensor *t) {
    const bk_sparse *s = bk_gguf_sparse_of(t);
    const uint8_t *rows;
    bk_error err;
    if (!s || t->bytes > 1 << 24) return;
    require(bk_gguf_read(g, t, &rows, &err) == BK_OK);
    bk_gguf_release(g, t, rows);
    pack(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_gguf *g;
    bk_error err;
    if (bk_gguf_parse(data, size, &g, &err) != BK_OK) return 0;
    bk_status status = bk_gguf_join_parts(g, &err);
    require(status == BK_OK || strlen(err.text) > 10);
    for (size_t i = 0; status == BK_OK && i < bk_gguf_n_tensors(g); i++)
        touch(g, bk_gguf_tensor_at(g, i));
    bk_gguf_destroy(&g);
    return 0;
}
