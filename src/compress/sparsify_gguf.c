#include <string.h>

#include "base/mem.h"
#include "compress/round.h"
#include "compress/sparsify_model.h"
#include "format/gguf_build.h"

/* ---- Types ------------------------------------------------------------------------------------------- */

bool bk_quant_keeps_zeros(const bk_quant *q) {
    enum { MOST = 256 };
    float x[MOST], back[MOST];
    uint8_t blocks[4 * MOST];
    size_t n = bk_round_up(32, q->block_len);
    if (!bk_round_to(q) || n > MOST || n / q->block_len * q->block_bytes > sizeof blocks)
        return false;
    /* Not as far up as down, so that none lies in the middle by chance. */
    for (size_t i = 0; i < MOST; i++) x[i] = i % 2 ? (float)(i * i % 61) - 17.3f : 0;
    bk_round_row(q, false, x, NULL, blocks, n);
    bk_quant_dequantize(q, blocks, back, n);
    for (size_t i = 0; i < n; i += 2)
        if (back[i] != 0) return false;
    return true;
}

static const bk_quant *own_type(const bk_gguf_tensor *t) {
    const bk_quant *q8 = bk_quant_find(BK_TYPE_Q8_0);
    if (bk_quant_keeps_zeros(t->type)) return t->type;
    return t->ne[0] % q8->block_len ? bk_quant_find(BK_TYPE_F16) : q8;
}

/* ---- Storing ----------------------------------------------------------------------------------------- */

typedef struct stored {
    const bk_quant *type; /* NULL: its own */
    uint8_t *bytes;       /* NULL: as it was */
} stored;

typedef struct storing {
    const bk_gguf *from;
    bk_gguf_builder *builder;
    const bk_quant *type;
    stored *tensors; /* of `from`, in order */
    void (*seen)(const bk_sparsified *m, const bk_quant *type, void *user);
    void *user;
} storing;

static size_t number_of(const bk_gguf *g, const bk_gguf_tensor *t) {
    size_t i = 0;
    while (bk_gguf_tensor_at(g, i) != t) i++;
    return i;
}

static bk_status check_type(const bk_quant *q, const bk_sparsified *m, bk_error *err) {
    if (m->k % q->block_len)
        return bk_fail(err, BK_ERR_INVALID, "%s has rows of %zu weights, %s takes multiples of %zu",
                       m->name, m->k, q->name, q->block_len);
    if (!bk_quant_keeps_zeros(q))
        return bk_fail(
            err, BK_ERR_INVALID,
            "a weight of 0 does not stay 0 in %s: take Q4_0, Q5_0, Q6_K, Q8_0, F16 or F32",
            q->name);
    return BK_OK;
}

static bk_status encode_rows(const bk_quant *q, const bk_sparsified *m, uint8_t *out,
                             bk_error *err) {
    float *importance = bk_alloc(m->k, sizeof *importance);
    if (!importance) return bk_fail(err, BK_ERR_NOMEM, "no memory to round %s", m->name);
    size_t row_bytes = m->k / q->block_len * q->block_bytes;
    for (size_t r = 0; r < m->n_matrices * m->rows; r++) {
        const double *squares = m->squares ? m->squares + r / m->rows * m->k : NULL;
        for (size_t j = 0; squares && r % m->rows == 0 && j < m->k; j++)
            importance[j] = (float)squares[j];
        bk_round_row(q, false, m->w + r * m->k, squares ? importance : NULL, out + r * row_bytes,
                     m->k);
    }
    bk_free(importance);
    return BK_OK;
}

static bk_status store(const bk_sparsified *m, void *user, bk_error *err) {
    storing *s = user;
    stored *to = &s->tensors[number_of(s->from, m->tensor)];
    const bk_quant *q = s->type ? s->type : own_type(m->tensor);
    bk_status st = check_type(q, m, err);
    if (st) return st;
    size_t blocks = m->n_matrices * m->rows * (m->k / q->block_len);
    to->type = q;
    to->bytes = bk_gguf_builder_alloc(s->builder, blocks, q->block_bytes);
    if (!to->bytes) return bk_fail(err, BK_ERR_NOMEM, "no memory for pruned %s", m->name);
    st = encode_rows(q, m, to->bytes, err);
    if (!st && s->seen) s->seen(m, q, s->user);
    return st;
}

static void add_tensor(bk_gguf_builder *b, const bk_gguf_tensor *t, const stored *s) {
    char *name = bk_gguf_builder_alloc(b, t->name.len + 1, 1);
    if (!name) return;
    memcpy(name, t->name.data, t->name.len);
    if (s->bytes)
        bk_gguf_builder_tensor(b, name, s->type->type, t->n_dims, t->ne, s->bytes);
    else if (t->data)
        bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
    else
        bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
}

bk_status bk_sparsify_gguf(const bk_gguf *from, bk_model *model, const bk_sparsify_options *o,
                           const bk_quant *type,
                           void (*seen)(const bk_sparsified *m, const bk_quant *type, void *user),
                           bk_gguf **out, bk_error *err) {
    size_t n = bk_gguf_n_tensors(from);
    storing s = {.from = from, .type = type, .seen = seen, .user = o->user};
    *out = NULL;
    s.builder = bk_gguf_builder_create();
    s.tensors = bk_alloc_zero(bk_max_size(n, 1), sizeof *s.tensors);
    bk_status st = BK_OK;
    if (!s.builder || !s.tensors) st = bk_fail(err, BK_ERR_NOMEM, "no memory for a pruned model");
    if (!st) st = bk_sparsify_model(from, model, o, store, &s, err);
    if (!st) {
        bk_gguf_builder_keys_of(s.builder, from);
        for (size_t i = 0; i < n; i++)
            add_tensor(s.builder, bk_gguf_tensor_at(from, i), &s.tensors[i]);
        st = bk_gguf_builder_finish(&s.builder, out, err);
    }
    bk_gguf_builder_destroy(&s.builder);
    bk_free(s.tensors);
    return st;
}
