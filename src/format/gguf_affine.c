#include "format/gguf_affine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/gguf_build.h"
#include "format/gguf_internal.h"
#include "format/gguf_parts.h"
#include "quant/affine.h"

enum { MOST_NAME = 256 };

/* ---- Reading ------------------------------------------------------------------------------------- */

typedef struct joined {
    bk_affine affine;
    const uint8_t *q;
    size_t n;
} joined;

static bk_status fill_joined(const void *source, uint8_t *out, bk_error *err) {
    (void)err;
    const joined *j = source;
    bk_affine_join(j->affine, j->q, out, j->n);
    return BK_OK;
}

bk_status bk_gguf_join_affine(bk_gguf *g, bk_gguf_tensor *t, bk_error *err) {
    const bk_gguf_tensor *q, *affine;
    float v[2];
    joined *j = bk_gguf_alloc(g, 1, sizeof *j);
    if (!j) return bk_fail(err, BK_ERR_NOMEM, "no memory for a tensor");
    bk_status status = bk_gguf_part(g, t->name, ".q8", BK_TYPE_I8, 0, &q, err);
    if (status == BK_OK)
        status = bk_gguf_part(g, t->name, ".affine", BK_TYPE_F32, sizeof v, &affine, err);
    if (status != BK_OK) return status;
    bk_quant_dequantize(affine->type, affine->data, v, 2);
    if (!(v[0] >= 0 && v[0] <= BK_AFFINE_MOST && fabsf(v[1]) <= BK_AFFINE_MOST))
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT ".affine': scale %g and minimum %g found, finite "
                       "numbers wanted, the scale not negative",
                       NAME_ARG(t->name), (double)v[0], (double)v[1]);
    if (q->ne[0] % BK_AFFINE_BLOCK)
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT ".q8': rows of %llu weights, wanted a multiple of %d",
                       NAME_ARG(t->name), (unsigned long long)q->ne[0], BK_AFFINE_BLOCK);
    *j = (joined){{v[0], v[1]}, q->data, q->bytes};
    t->type = bk_quant_find(BK_TYPE_Q8_AFFINE);
    t->n_dims = q->n_dims;
    memcpy(t->ne, q->ne, sizeof t->ne);
    t->fill = fill_joined;
    t->source = j;
    return BK_OK;
}

/* ---- Writing ------------------------------------------------------------------------------------- */

typedef struct split {
    const bk_gguf *from;
    const bk_gguf_tensor *tensor;
    bk_affine
        *affine; /* when q has been asked for, which is not long ago when this is: as it was */
    bool *known;
} split;

static bk_status fill_q(const void *source, uint8_t *out, bk_error *err) {
    const split *s = source;
    const uint8_t *blocks;
    bk_status status = bk_gguf_read(s->from, s->tensor, &blocks, err);
    if (status != BK_OK) return status;
    *s->affine = bk_affine_split(blocks, out, (size_t)s->tensor->n_elements);
    *s->known = true;
    bk_gguf_release(s->from, s->tensor, blocks);
    return BK_OK;
}

static bk_status fill_affine(const void *source, uint8_t *out, bk_error *err) {
    const split *s = source;
    if (!*s->known) {
        uint8_t *q = bk_alloc((size_t)s->tensor->n_elements, 1);
        bk_status status = q ? fill_q(s, q, err)
                             : bk_fail(err, BK_ERR_NOMEM, "no memory for %zu weights",
                                       (size_t)s->tensor->n_elements);
        bk_free(q);
        if (status != BK_OK) return status;
    }
    float v[2] = {s->affine->scale, s->affine->minimum};
    bk_quant_find(BK_TYPE_F32)->quantize(v, out, 2);
    return BK_OK;
}

static void add_parts(bk_gguf_builder *b, const bk_gguf *from, const bk_gguf_tensor *t) {
    static const uint64_t two[1] = {2};
    char name[MOST_NAME];
    split *s = bk_gguf_builder_alloc(b, 1, sizeof *s);
    bk_affine *affine = bk_gguf_builder_alloc(b, 1, sizeof *affine);
    bool *known = bk_gguf_builder_alloc(b, 1, sizeof *known);
    if (!s || !affine || !known) return;
    *s = (split){from, t, affine, known};
    snprintf(name, sizeof name, "%.*s.q8", (int)t->name.len, t->name.data);
    bk_gguf_builder_lazy(b, name, BK_TYPE_I8, t->n_dims, t->ne, fill_q, s);
    snprintf(name, sizeof name, "%.*s.affine", (int)t->name.len, t->name.data);
    bk_gguf_builder_lazy(b, name, BK_TYPE_F32, 1, two, fill_affine, s);
}

/* What is there already, and this one. */
static bk_status add_extension(bk_gguf_builder *b, const bk_gguf *from, bk_error *err) {
    bk_str *names, *all;
    size_t n;
    bk_status status = bk_gguf_str_array(from, "brisk.extensions", &names, &n, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    if (status == BK_ERR_NOT_FOUND) names = NULL, n = 0;
    all = bk_gguf_builder_alloc(b, n + 1, sizeof *all);
    for (size_t i = 0; all && i < n; i++) all[i] = names[i];
    if (all) all[n] = BK_STR("q8_affine");
    if (all) bk_gguf_builder_strs(b, "brisk.extensions", all, n + 1);
    bk_free(names);
    return BK_OK;
}

bk_status bk_gguf_split_affine(const bk_gguf *from, bk_gguf **out, bk_error *err) {
    size_t found = 0;
    *out = NULL;
    for (size_t i = 0; i < from->n_tensors; i++) {
        const bk_gguf_tensor *t = &from->tensors[i];
        if (t->type->type != BK_TYPE_Q8_AFFINE) continue;
        found++;
        if (t->name.len > MOST_NAME - sizeof ".affine")
            return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': its name is too long",
                           NAME_ARG(t->name));
    }
    if (!found) return BK_OK;
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_keys_of(b, from);
    bk_status status = add_extension(b, from, err);
    for (size_t i = 0; i < from->n_tensors; i++) {
        const bk_gguf_tensor *t = &from->tensors[i];
        char *name = bk_gguf_builder_alloc(b, t->name.len + 1, 1);
        if (name) memcpy(name, t->name.data, t->name.len);
        if (t->type->type == BK_TYPE_Q8_AFFINE)
            add_parts(b, from, t);
        else if (name && t->data)
            bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
        else if (name)
            bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
    }
    if (status == BK_OK) return bk_gguf_builder_finish(&b, out, err);
    bk_gguf_builder_destroy(&b);
    return status;
}
