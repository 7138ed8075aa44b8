#include "train/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum { ALIGN = 16 /* words: tensors begin at cache lines */ };

/* ---- Adding ------------------------------------------------------------------------------------- */

static size_t add(bk_params *p, bk_param param, bool joined, const char *name, va_list args) {
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        bk_param *list = bk_realloc(p->list, cap, sizeof *list);
        if (!list) {
            p->failed = true;
            return 0;
        }
        p->list = list;
        p->cap = cap;
    }
    size_t n;
    if (!bk_mul_size(param.rows, param.cols, &n) || n > (SIZE_MAX >> 5) - p->words) {
        p->failed = true;
        return 0;
    }
    param.joined = joined;
    vsnprintf(param.name, sizeof param.name, name, args);
    p->words += n + ALIGN; /* at most */
    p->n_weights += n;
    p->list[p->n] = param;
    return p->n++;
}

size_t bk_params_matrix(bk_params *p, bool joined, size_t rows, size_t cols, const char *name,
                        ...) {
    va_list args;
    va_start(args, name);
    size_t i = add(p, (bk_param){.rows = rows, .cols = cols, .matrix = true}, joined, name, args);
    va_end(args);
    return i;
}

size_t bk_params_vector(bk_params *p, size_t n, const char *name, ...) {
    va_list args;
    va_start(args, name);
    size_t i = add(p, (bk_param){.rows = 1, .cols = n}, false, name, args);
    va_end(args);
    return i;
}

/* Tensors of one kind, from a word on; returns the word behind them. */
static size_t place(bk_params *p, bool matrices, size_t at) {
    for (size_t i = 0; i < p->n; i++) {
        bk_param *t = &p->list[i];
        if (t->matrix != matrices) continue;
        t->at = t->joined ? at : bk_round_up(at, ALIGN);
        at = t->at + bk_param_count(t);
    }
    return bk_round_up(at, ALIGN);
}

static bool create(bk_params *p, bk_mem **mem, size_t words) {
    *mem = p->nn->ops->mem_create(p->nn, words);
    return *mem != NULL;
}

bk_status bk_params_create(bk_params *p, const bk_quant *quant, bk_error *err) {
    p->vectors = place(p, false, 0);
    p->words = place(p, true, p->vectors);
    p->learned = p->freeze ? p->vectors : p->words;
    p->quant = quant;
    for (size_t i = 0; i < p->n; i++) p->list[i].frozen = p->freeze && p->list[i].matrix;
    bool good = !p->failed && create(p, &p->w, p->words) && create(p, &p->grad, p->learned) &&
                create(p, &p->m, p->learned) && create(p, &p->v, p->learned);
    if (good && quant) good = create(p, &p->rounded, p->words);
    p->read = p->w;
    if (good) return BK_OK;
    return bk_fail(err, BK_ERR_NOMEM,
                   "no memory to train %zu weights: %d bytes each are wanted; make the model "
                   "smaller",
                   p->n_weights, (p->freeze ? 4 : 16) + (quant ? 4 : 0));
}

void bk_params_free(bk_params *p) {
    bk_mem *all[] = {p->w, p->grad, p->m, p->v, p->best, p->mask, p->rounded};
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        if (all[i]) p->nn->ops->mem_destroy(p->nn, all[i]);
    bk_free(p->list);
    *p = (bk_params){0};
}

uint64_t bk_params_bytes(const bk_params *p) {
    uint64_t all = 1 + (p->best != NULL) + (p->mask != NULL) + (p->rounded != NULL);
    return 4 * (all * p->words + 3 * (uint64_t)p->learned);
}

/* ---- Values ------------------------------------------------------------------------------------- */

/* Box and Muller 1958. */
static double normal(bk_rng *r) {
    double u = 1 - bk_rng_unit(r), angle = 6.283185307179586 * bk_rng_unit(r);
    return sqrt(-2 * log(u)) * cos(angle);
}

bk_status bk_params_init(bk_params *p, size_t i, bk_init how, double size, uint64_t seed,
                         bk_error *err) {
    size_t n = bk_param_count(&p->list[i]);
    float *x = bk_alloc(n, sizeof *x);
    if (!x) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu first values", n);
    bk_rng rng;
    bk_rng_seed(&rng, seed, i);
    for (size_t k = 0; k < n; k++) {
        double v = size;
        if (how == BK_INIT_NORMAL) v *= normal(&rng);
        if (how == BK_INIT_UNIFORM) v *= 2 * bk_rng_unit(&rng) - 1;
        x[k] = (float)v;
    }
    p->nn->ops->write(p->nn, (bk_vec){p->w, p->list[i].at}, x, n);
    bk_free(x);
    return BK_OK;
}

/* Whether its rows are whole blocks of the type. */
static bool fits(const bk_param *t, const bk_quant *type) {
    return t->matrix && type && type->quantize && t->cols % type->block_len == 0;
}

static void refresh(bk_params *p, bool frozen_too) {
    const struct bk_nn_ops *ops = p->nn->ops;
    if (p->read == p->w) return;
    for (size_t i = 0; i < p->n; i++) {
        const bk_param *t = &p->list[i];
        bk_vec from = {p->w, t->at}, to = {p->rounded, t->at};
        if (t->frozen && !frozen_too) continue;
        if (fits(t, p->quant)) {
            ops->round_trip(p->nn, p->quant, from, t->rows, t->cols, to);
        } else {
            ops->copy(p->nn, to, from, bk_param_count(t));
        }
    }
}

void bk_params_refresh(bk_params *p) { refresh(p, false); }

void bk_params_round(bk_params *p, bool on) {
    p->read = on && p->rounded ? p->rounded : p->w;
    refresh(p, true);
}

size_t bk_params_fitting(const bk_params *p, const bk_quant *type) {
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (fits(&p->list[i], type)) n += bk_param_count(&p->list[i]);
    return n;
}

bk_status bk_params_keep_zeros(bk_params *p, bk_error *err) {
    p->mask = p->nn->ops->mem_create(p->nn, p->words);
    float *x = bk_alloc(p->words, sizeof *x);
    if (p->mask && x) {
        p->nn->ops->read(p->nn, (bk_vec){p->w, 0}, x, p->words);
        for (size_t i = 0; i < p->words; i++) x[i] = i < p->vectors || x[i] != 0;
        p->nn->ops->write(p->nn, (bk_vec){p->mask, 0}, x, p->words);
    }
    bool good = p->mask && x;
    bk_free(x);
    return good ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for a mask of %zu", p->words);
}

/* ---- Files -------------------------------------------------------------------------------------- */

/* One tensor on its way to a file. */
typedef struct source {
    bk_nn *nn;
    bk_vec from;
    size_t n;
    const bk_quant *type;
} source;

static bk_status fill(const void *what, uint8_t *out, bk_error *err) {
    const source *s = what;
    if (s->type->type == BK_TYPE_F32) {
        s->nn->ops->read(s->nn, s->from, out, s->n);
        return BK_OK;
    }
    float *x = bk_alloc(s->n, sizeof *x);
    if (!x) return bk_fail(err, BK_ERR_NOMEM, "no memory for a tensor of %zu weights", s->n);
    s->nn->ops->read(s->nn, s->from, x, s->n);
    s->type->quantize(x, out, s->n);
    bk_free(x);
    return BK_OK;
}

void bk_params_put(bk_params *p, bk_mem *from, const char *prefix, const bk_quant *type,
                   bk_gguf_builder *b) {
    bool moments = from == p->m || from == p->v;
    for (size_t i = 0; i < p->n; i++) {
        const bk_param *t = &p->list[i];
        if (moments && t->frozen) continue;
        source *s = bk_gguf_builder_alloc(b, 1, sizeof *s);
        if (!s) return;
        const bk_quant *of = fits(t, type) ? type : bk_quant_find(BK_TYPE_F32);
        *s = (source){p->nn, {from, t->at}, bk_param_count(t), of};
        char name[96];
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        const uint64_t ne[2] = {t->cols, t->rows};
        bk_gguf_builder_lazy(b, name, of->type, t->matrix ? 2 : 1, ne, fill, s);
    }
}

static bk_status get_one(bk_params *p, const bk_param *t, bk_mem *to, const char *name,
                         const bk_gguf *g, bk_error *err) {
    const bk_gguf_tensor *in = bk_gguf_find_tensor(g, name);
    if (!in) return bk_fail(err, BK_ERR_FORMAT, "tensor '%s' is missing", name);
    if (in->ne[0] != t->cols || in->ne[1] != t->rows || in->ne[2] != 1 || in->ne[3] != 1)
        return bk_fail(err, BK_ERR_FORMAT, "tensor '%s' is [%llu][%llu], [%zu][%zu] is wanted",
                       name, (unsigned long long)in->ne[1], (unsigned long long)in->ne[0], t->rows,
                       t->cols);
    size_t n = bk_param_count(t);
    const uint8_t *data;
    bk_status st = bk_gguf_read(g, in, &data, err);
    if (st) return st;
    float *x = bk_alloc(n, sizeof *x);
    if (x) {
        bk_quant_dequantize(in->type, data, x, n);
        p->nn->ops->write(p->nn, (bk_vec){to, t->at}, x, n);
    }
    bk_gguf_release(g, in, data);
    bool good = x != NULL;
    bk_free(x);
    return good ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for tensor '%s'", name);
}

bk_status bk_params_get(bk_params *p, bk_mem *to, const char *prefix, const bk_gguf *g,
                        bk_error *err) {
    bool moments = to == p->m || to == p->v;
    for (size_t i = 0; i < p->n; i++) {
        if (moments && p->list[i].frozen) continue;
        char name[96];
        snprintf(name, sizeof name, "%s%s", prefix, p->list[i].name);
        bk_status st = get_one(p, &p->list[i], to, name, g, err);
        if (st) return st;
    }
    return BK_OK;
}
