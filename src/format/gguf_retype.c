#include "format/gguf_retype.h"

#include <stdio.h>
#include <strings.h>

#include "base/mem.h"
#include "format/gguf_build.h"

enum { MOST_TYPES = 64 };

bk_status bk_gguf_type_named(const char *name, const bk_quant **out, bk_error *err) {
    char known[256] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < MOST_TYPES; i++) {
        const bk_quant *q = bk_quant_find(i);
        if (!q || !q->quantize) continue;
        *out = q;
        if (strcasecmp(name, q->name) == 0) return BK_OK;
        if (len < sizeof known)
            len +=
                (size_t)snprintf(known + len, sizeof known - len, "%s%s", len ? ", " : "", q->name);
    }
    *out = NULL;
    return bk_fail(err, BK_ERR_INVALID, "type '%.40s' found; auto, %s wanted", name, known);
}

/* A tensor to be rounded. */
typedef struct source {
    const bk_gguf *g;
    const bk_gguf_tensor *tensor;
    const bk_quant *to;
} source;

static bk_status fill(const void *p, uint8_t *out, bk_error *err) {
    enum { PIECE = 4096 }; /* a multiple of every block */
    float values[PIECE];
    const source *s = p;
    const bk_quant *from = s->tensor->type;
    const uint8_t *data;
    bk_status status = bk_gguf_read(s->g, s->tensor, &data, err);
    if (status != BK_OK) return status;
    for (uint64_t i = 0; i < s->tensor->n_elements; i += PIECE) {
        size_t n = (size_t)(s->tensor->n_elements - i < PIECE ? s->tensor->n_elements - i : PIECE);
        bk_quant_dequantize(from, data + i * from->block_bytes, values, n);
        s->to->quantize(values, out + i / s->to->block_len * s->to->block_bytes, n);
    }
    bk_gguf_release(s->g, s->tensor, data);
    return BK_OK;
}

static bool contains(bk_str s, const char *part) {
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.len; i++)
        if (memcmp(s.data + i, part, n) == 0) return true;
    return false;
}

static bool rounds(const bk_gguf_tensor *t, const bk_quant *type, const char *keep) {
    if (t->n_dims < 2 || t->type->bits > 0 || t->type == type) return false;
    if (t->ne[0] % type->block_len || contains(t->name, "ffn_gate_inp")) return false;
    return !keep || !contains(t->name, keep);
}

static void add_tensor(bk_gguf_builder *b, const bk_gguf *from, const bk_gguf_tensor *t,
                       const bk_quant *type, const char *keep) {
    char *name = bk_gguf_builder_alloc(b, t->name.len + 1, 1);
    if (!name) return;
    memcpy(name, t->name.data, t->name.len);
    if (rounds(t, type, keep)) {
        source *s = bk_gguf_builder_alloc(b, 1, sizeof *s);
        if (!s) return;
        *s = (source){from, t, type};
        bk_gguf_builder_lazy(b, name, type->type, t->n_dims, t->ne, fill, s);
    } else if (t->data) {
        bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
    } else {
        bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
    }
}

bk_status bk_gguf_retype(const bk_gguf *from, const bk_quant *type, const char *keep, bk_gguf **out,
                         bk_error *err) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    if (b) bk_gguf_builder_keys_of(b, from);
    if (b) bk_gguf_builder_file_type(b, type);
    for (size_t i = 0; b && i < bk_gguf_n_tensors(from); i++)
        add_tensor(b, from, bk_gguf_tensor_at(from, i), type, keep);
    return bk_gguf_builder_finish(&b, out, err);
}
