#include "compress/round.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "format/gguf_build.h"
#include "quant/affine.h"

enum { MOST_TYPES = 64, CHUNK_WEIGHTS = 1 << 14 };

bk_status bk_round_type(const char *name, const bk_quant **out, bk_error *err) {
    bk_status st = bk_quant_named(name, out, err);
    if (st || bk_round_whole_to(*out)) return st;
    return bk_fail(err, BK_ERR_UNSUPPORTED, "weights cannot be rounded to %s", (*out)->name);
}

void bk_round_row(const bk_quant *to, bool plain, const float *x, const float *importance,
                  void *blocks, size_t n) {
    if (to->search && (!plain || !to->quantize))
        to->search(x, plain ? NULL : importance, blocks, n);
    else
        to->quantize(x, blocks, n);
}

bk_status bk_round_importance(const bk_imatrix *m, const bk_gguf_tensor *t, float **out,
                              bk_error *err) {
    const bk_imatrix_entry *e = m ? bk_imatrix_find(m, t->name) : NULL;
    size_t k = (size_t)t->ne[0], n = (size_t)(t->ne[2] * t->ne[3]);
    *out = NULL;
    /* Files of before have a stack in one row. */
    bk_imatrix_entry flat;
    if (e && e->n_matrices == 1 && n > 1 && e->k == k * n) {
        flat = (bk_imatrix_entry){.name = e->name, .k = k, .n_matrices = n, .squares = e->squares};
        e = &flat;
    } else if (!e || e->k != k || e->n_matrices != n) {
        return BK_OK;
    }
    float *means = bk_alloc(n, k * sizeof *means);
    if (!means) return bk_fail(err, BK_ERR_NOMEM, "no memory for the importance of %zu columns", k);
    for (size_t i = 0; i < n; i++) {
        float *row = means + i * k;
        if (e == &flat)
            memcpy(row, e->squares + i * k, k * sizeof *row);
        else if (!bk_imatrix_means(e, i, row))
            for (size_t j = 0; j < k; j++) row[j] = 1;
    }
    *out = means;
    return BK_OK;
}

/* ---- One tensor --------------------------------------------------------------------------------- */

typedef struct model {
    bk_round_options o;
    const bk_gguf *from;
    uint64_t total;         /* weights that are rounded */
    _Atomic uint64_t *done; /* of them; in memory of the result, since sources are read-only */
} model;

typedef struct source {
    const model *m;
    size_t index;
    const bk_gguf_tensor *tensor;
    const bk_quant *to;
} source;

typedef struct job {
    const source *s;
    const uint8_t *data;
    uint8_t *out;
    const float *importance; /* [matrices][k] or NULL */
    float *rows;             /* [threads][k] */
    bk_affine affine;        /* of Q8_AFFINE */
    size_t n_rows, k, chunk;
    _Atomic bool broken;
} job;

static bool all_finite(const float *x, size_t n) {
    float sum = 0; /* 0 unless one is not */
    for (size_t i = 0; i < n; i++) sum += x[i] * 0;
    return sum == 0;
}

static void round_rows(job *j, size_t first, size_t n, float *x) {
    const source *s = j->s;
    const bk_quant *from = s->tensor->type, *to = s->to;
    size_t in_bytes = j->k / from->block_len * from->block_bytes;
    size_t out_bytes = j->k / to->block_len * to->block_bytes;
    for (size_t r = first; r < first + n; r++) {
        const float *importance =
            j->importance ? j->importance + r / (size_t)s->tensor->ne[1] * j->k : NULL;
        bk_quant_dequantize(from, j->data + r * in_bytes, x, j->k);
        if (to->bits && !all_finite(x, j->k)) atomic_store(&j->broken, true);
        if (to->type == BK_TYPE_Q8_AFFINE)
            bk_affine_round(j->affine, x, j->out + r * out_bytes, j->k);
        else
            bk_round_row(to, s->m->o.plain, x, importance, j->out + r * out_bytes, j->k);
    }
}

static void run(void *arg, int thread) {
    job *j = arg;
    const model *m = j->s->m;
    bk_pool *pool = m->o.pool;
    size_t n_chunks = bk_div_up(j->n_rows, j->chunk);
    for (size_t next = 0;; next++) {
        size_t c = pool ? bk_pool_next(pool) : next;
        if (c >= n_chunks || atomic_load(&j->broken) || (m->o.cancel && *m->o.cancel)) break;
        size_t first = c * j->chunk, n = bk_min_size(j->chunk, j->n_rows - first);
        round_rows(j, first, n, j->rows + (size_t)thread * j->k);
        uint64_t done = atomic_fetch_add(m->done, n * j->k) + n * j->k;
        if (thread == 0 && m->o.progress) m->o.progress((double)done / (double)m->total, m->o.user);
    }
}

/* The one scale and minimum of a tensor, before any row of it is rounded. */
static void find_affine(job *j) {
    const bk_quant *from = j->s->tensor->type;
    bk_affine_range range = {INFINITY, -INFINITY};
    size_t row_bytes = j->k / from->block_len * from->block_bytes;
    for (size_t r = 0; r < j->n_rows && !atomic_load(&j->broken); r++) {
        bk_quant_dequantize(from, j->data + r * row_bytes, j->rows, j->k);
        if (!bk_affine_extend(&range, j->rows, j->k)) atomic_store(&j->broken, true);
    }
    j->affine = bk_affine_of(range);
}

static bk_status round_tensor(job *j, bk_error *err) {
    const source *s = j->s;
    bk_pool *pool = s->m->o.pool;
    size_t threads = pool ? (size_t)bk_pool_threads(pool) : 1;
    j->rows = bk_alloc(threads, j->k * sizeof *j->rows);
    if (!j->rows) return bk_fail(err, BK_ERR_NOMEM, "no memory for rows of %zu weights", j->k);
    if (s->to->type == BK_TYPE_Q8_AFFINE) find_affine(j);
    if (pool)
        bk_pool_run_steady(pool, run, j);
    else
        run(j, 0);
    bk_free(j->rows);
    if (s->m->o.cancel && *s->m->o.cancel) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
    if (atomic_load(&j->broken))
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "' has weights that are NaN, infinite or too large, which "
                       "no %s can hold",
                       BK_STR_ARG(s->tensor->name), s->to->name);
    return BK_OK;
}

static bk_status make(const void *p, uint8_t *out, bk_error *err) {
    const source *s = p;
    const bk_gguf_tensor *t = s->tensor;
    job j = {.s = s, .out = out, .k = (size_t)t->ne[0]};
    float *importance;
    j.n_rows = (size_t)(t->n_elements / t->ne[0]);
    j.chunk = bk_max_size(CHUNK_WEIGHTS / j.k, 1);
    bk_status st = bk_round_importance(s->m->o.imatrix, t, &importance, err);
    if (st) return st;
    j.importance = importance;
    st = bk_gguf_read(s->m->from, t, &j.data, err);
    if (!st) {
        st = round_tensor(&j, err);
        bk_gguf_release(s->m->from, t, j.data);
    }
    bk_free(importance);
    return st;
}

static bk_status fill(const void *p, uint8_t *out, bk_error *err) {
    const source *s = p;
    bk_round_cache *cache = s->m->o.cache;
    if (!cache) return make(p, out, err);
    size_t bytes = (size_t)s->tensor->n_elements / s->to->block_len * s->to->block_bytes;
    if (cache->tensors[s->index].type == s->to) {
        memcpy(out, cache->tensors[s->index].blocks, bytes);
        return BK_OK;
    }
    bk_status st = make(p, out, err);
    uint8_t *copy = st ? NULL : bk_alloc(bytes, 1);
    if (!copy) return st; /* without memory it is made again */
    memcpy(copy, out, bytes);
    bk_free(cache->tensors[s->index].blocks);
    cache->tensors[s->index].blocks = copy;
    cache->tensors[s->index].type = s->to;
    return BK_OK;
}

bk_status bk_round_cache_init(bk_round_cache *c, const bk_gguf *from, bk_error *err) {
    c->n = bk_gguf_n_tensors(from);
    c->tensors = bk_alloc_zero(c->n + 1, sizeof *c->tensors);
    return c->tensors ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tensors", c->n);
}

void bk_round_cache_free(bk_round_cache *c) {
    for (size_t i = 0; c->tensors && i < c->n; i++) bk_free(c->tensors[i].blocks);
    bk_free(c->tensors);
    *c = (bk_round_cache){0};
}

/* ---- A model ------------------------------------------------------------------------------------ */

static void add_tensor(bk_gguf_builder *b, model *m, size_t index, const bk_quant *type) {
    const bk_gguf_tensor *t = bk_gguf_tensor_at(m->from, index);
    char *name = bk_gguf_builder_alloc(b, t->name.len + 1, 1);
    if (!name) return;
    memcpy(name, t->name.data, t->name.len);
    if (type != t->type) {
        source *s = bk_gguf_builder_alloc(b, 1, sizeof *s);
        if (!s) return;
        *s = (source){m, index, t, type};
        m->total += t->n_elements;
        bk_gguf_builder_lazy(b, name, type->type, t->n_dims, t->ne, fill, s);
    } else if (t->data) {
        bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
    } else {
        bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
    }
}

static bk_status check(const bk_gguf_tensor *t, const bk_quant *type, bk_error *err) {
    if (type == t->type) return BK_OK;
    if (!bk_round_whole_to(type))
        return bk_fail(err, BK_ERR_UNSUPPORTED, "weights cannot be rounded to %s here", type->name);
    if (t->ne[0] % type->block_len == 0) return BK_OK;
    return bk_fail(err, BK_ERR_INVALID,
                   "tensor '" BK_STR_FMT "' has rows of %llu weights, %s wants a multiple of %zu",
                   BK_STR_ARG(t->name), (unsigned long long)t->ne[0], type->name, type->block_len);
}

/* What the file says of itself. */
static void add_keys(bk_gguf_builder *b, const bk_gguf *from, const bk_quant *const *types,
                     const bk_round_options *o) {
    uint64_t n[MOST_TYPES] = {0}, best = 0;
    const bk_quant *most = NULL;
    bool integers = false;
    for (size_t i = 0; i < bk_gguf_n_tensors(from); i++) {
        const bk_quant *q = types[i];
        integers = integers || q->bits > 0;
        if ((unsigned)q->type >= MOST_TYPES) continue;
        n[q->type] += bk_gguf_tensor_at(from, i)->n_elements;
        if (n[q->type] > best) best = n[q->type], most = q;
    }
    bk_gguf_builder_keys_of(b, from);
    if (most) bk_gguf_builder_file_type(b, most);
    if (o->file_type >= 0) bk_gguf_builder_u32(b, "general.file_type", (uint32_t)o->file_type);
    if (integers) bk_gguf_builder_u32(b, "general.quantization_version", 2);
    if (!o->imatrix) return;
    bk_gguf_builder_str(b, "quantize.imatrix.dataset",
                        bk_str_from(o->imatrix->text ? o->imatrix->text : ""));
    bk_gguf_builder_u32(b, "quantize.imatrix.entries_count", (uint32_t)o->imatrix->n);
    bk_gguf_builder_u32(b, "quantize.imatrix.chunks_count", o->imatrix->chunks);
}

bk_status bk_round_model(const bk_gguf *from, const bk_quant *const *types,
                         const bk_round_options *options, bk_gguf **out, bk_error *err) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    model *m = bk_gguf_builder_alloc(b, 1, sizeof *m);
    *out = NULL;
    if (m) m->done = bk_gguf_builder_alloc(b, 1, sizeof *m->done);
    if (!m || !m->done) return bk_gguf_builder_finish(&b, out, err);
    m->o = *options;
    m->from = from;
    add_keys(b, from, types, options);
    for (size_t i = 0; i < bk_gguf_n_tensors(from); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(from, i);
        bk_status st = check(t, types[i], err);
        if (st) {
            bk_gguf_builder_destroy(&b);
            return st;
        }
        add_tensor(b, m, i, types[i]);
    }
    return bk_gguf_builder_finish(&b, out, err);
}
