/* Whole layers. What a layer adds to the stream is left out with it, so the file has fewer of them and
 * those behind move up.
 *
 * A layer's influence is 1 - E[cos(x_l, x_(l+1))], how far it turns the states (Men et al. 2024, arXiv
 * 2403.03853); the same over n layers finds neighbours that go together (Gromov et al. 2024, arXiv
 * 2403.17887). By default layers go one after the other: of the half with the least influence whichever
 * changes the predictions least, measured without it. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "device/device.h"
#include "measure/eval.h"
#include "measure/feed.h"
#include "model/arch.h"

enum { WINDOW = 256, SCORED = 32, WINDOWS = 4, STATES = 512 };

/* ---- Influence ----------------------------------------------------------------------------------- */

/* The states before each layer and behind the last, of one window. What a product is seen to read is
 * normed and weighted; without the weights it points where the state does. */
typedef struct states {
    const bk_model *model;
    size_t n_embd, rows;
    float *x; /* [n_layers + 1][rows][n_embd] */
} states;

static void keep_rows(states *s, size_t at, const float *x, size_t ld, const float *weight) {
    float *to = s->x + at * s->rows * s->n_embd;
    for (size_t r = 0; r < s->rows; r++, to += s->n_embd)
        for (size_t i = 0; i < s->n_embd; i++)
            to[i] = weight[i] == 0 ? 0 : x[r * ld + i] / weight[i];
}

static void see(const bk_cmd *c, const float *x, size_t ld, void *user) {
    states *s = user;
    if (c->op != BK_OP_PRODUCT) return;
    for (int l = 0; l < s->model->config.n_layers; l++) {
        const bk_layer *layer = &s->model->weights.layers[l];
        if (c->product.w[0] == (layer->qkv ? layer->qkv : layer->q))
            keep_rows(s, (size_t)l, x, ld, layer->attn_norm);
    }
}

static double turn(const states *s, size_t from, size_t to) {
    double sum = 0;
    for (size_t r = 0; r < s->rows; r++) {
        const float *a = s->x + (from * s->rows + r) * s->n_embd;
        const float *b = s->x + (to * s->rows + r) * s->n_embd;
        double ab = 0, aa = 0, bb = 0;
        for (size_t i = 0; i < s->n_embd; i++) {
            ab += (double)a[i] * (double)b[i];
            aa += (double)a[i] * (double)a[i];
            bb += (double)b[i] * (double)b[i];
        }
        sum += aa > 0 && bb > 0 ? 1 - ab / sqrt(aa * bb) : 0;
    }
    return sum;
}

/* One window through the model; adds to out[l] how far layers l .. l + n - 1 turn its states. */
static bk_status observe(bk_pruning *p, states *s, bk_feed *f, const int32_t *tokens, size_t n,
                         double *out) {
    size_t n_layers = (size_t)p->config->n_layers;
    float *hidden = bk_alloc(s->rows * s->n_embd, sizeof *hidden);
    if (!hidden) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu states", s->rows);
    bk_observer observer = {see, s};
    bk_feed_set_context(f, s->rows);
    bk_rows rows = {.kv = f->kv,
                    .tokens = tokens,
                    .n = s->rows,
                    .n_hidden = s->rows,
                    .hidden = hidden,
                    .long_context = bk_feed_long_context(f)};
    bk_model_set_observer(p->model, &observer);
    bk_status st = bk_feed_rewind(f, 0, p->err);
    if (!st) st = bk_exec_forward(f->exec, &rows, 1, p->err);
    bk_model_set_observer(p->model, NULL);
    if (!st) keep_rows(s, n_layers, hidden, s->n_embd, s->model->weights.out_norm);
    for (size_t l = 0; l + n <= n_layers && !st; l++) out[l] += turn(s, l, l + n);
    bk_free(hidden);
    return st;
}

/* ---- Predictions --------------------------------------------------------------------------------- */

typedef struct search {
    bk_pruning *p;
    bk_windows text;
    size_t window, n_windows, scored;
    bk_feed feed;
    bk_expected reference[SCORED]; /* of one window */
    double *influence;             /* [n_layers] */
    double *kl;                    /* [n_layers] */
    bool *gone;                    /* [n_layers] */
} search;

static bk_status feed(search *s, size_t w) {
    const int32_t *at = s->text.ids.data + w * s->window;
    size_t head = s->window - s->scored;
    bk_feed_set_context(&s->feed, s->window);
    bk_status st = bk_feed_rewind(&s->feed, 0, s->p->err);
    if (!st) st = bk_feed_tokens(&s->feed, at, head, 0, s->p->o->cancel, s->p->err);
    if (!st)
        st = bk_feed_tokens(&s->feed, at + head, s->scored, s->scored, s->p->o->cancel, s->p->err);
    return st;
}

static bk_status distance(search *s, double *kl) {
    bk_score score = {0};
    bk_summary sum;
    size_t n = s->feed.n_vocab;
    bk_status st = bk_score_reserve(&score, s->scored) ? BK_OK : BK_ERR_NOMEM;
    if (st) st = bk_fail(s->p->err, st, "no memory to compare %zu rows", s->scored);
    for (size_t i = 0; i < s->scored && !st; i++)
        st = bk_score_add(&score, s->feed.rows + i * n, &s->reference[i], n, -1, 0, s->p->err);
    if (!st) bk_score_summary(&score, &sum);
    if (!st) *kl += sum.kl_mean;
    bk_score_free(&score);
    return st;
}

/* Adds to kl[l] of every layer that may go next what this window says. */
static bk_status try_window(search *s, size_t w, double limit) {
    size_t n_layers = (size_t)s->p->config->n_layers;
    for (size_t l = 0; l < n_layers; l++) bk_model_skip_layer(s->p->model, (int)l, false);
    bk_status st = feed(s, w);
    for (size_t i = 0; i < s->scored && !st; i++) {
        const float *row = s->feed.rows + i * s->feed.n_vocab;
        for (size_t k = 0; k < s->feed.n_vocab; k++) s->reference[i].log_p[k] = (double)row[k];
        st = bk_expected_prepare(&s->reference[i], s->p->err);
    }
    for (size_t l = 0; l < n_layers; l++)
        if (s->gone[l]) bk_model_skip_layer(s->p->model, (int)l, true);
    for (size_t l = 0; l < n_layers && !st; l++) {
        if (s->gone[l] || s->influence[l] > limit) continue;
        bk_model_skip_layer(s->p->model, (int)l, true);
        st = feed(s, w);
        if (!st) st = distance(s, &s->kl[l]);
        bk_model_skip_layer(s->p->model, (int)l, false);
    }
    return st;
}

/* The influence that half of the layers which are left do not exceed. */
static double middle(const search *s) {
    size_t n_layers = (size_t)s->p->config->n_layers, left = 0;
    for (size_t l = 0; l < n_layers; l++) left += !s->gone[l];
    for (size_t l = 0; l < n_layers; l++) {
        size_t below = 0;
        for (size_t i = 0; i < n_layers; i++)
            below += !s->gone[i] && s->influence[i] < s->influence[l];
        if (!s->gone[l] && below == left / 2) return s->influence[l];
    }
    return DBL_MAX;
}

static bk_status next_by_kl(search *s, size_t done, size_t go) {
    size_t n_layers = (size_t)s->p->config->n_layers, best = n_layers;
    double limit = middle(s);
    bk_status st = BK_OK;
    for (size_t l = 0; l < n_layers; l++)
        s->kl[l] = s->gone[l] || s->influence[l] > limit ? DBL_MAX : 0;
    for (size_t w = 0; w < s->n_windows && !st; w++) {
        double part = (double)w / (double)s->n_windows;
        bk_prune_progress(s->p, "choosing layers", ((double)done + part) / (double)go);
        st = try_window(s, w, limit);
    }
    for (size_t l = 0; l < n_layers; l++) bk_model_skip_layer(s->p->model, (int)l, false);
    if (st) return st;
    for (size_t l = 0; l < n_layers; l++)
        if (!s->gone[l] && (best == n_layers || s->kl[l] < s->kl[best])) best = l;
    s->gone[best] = true;
    return BK_OK;
}

/* ---- Choosing ------------------------------------------------------------------------------------ */

static bk_status measure_influence(search *s, size_t n) {
    bk_pruning *p = s->p;
    size_t n_layers = (size_t)p->config->n_layers, words;
    states x = {.model = p->model, .n_embd = (size_t)p->config->n_embd, .rows = s->window};
    if (!bk_mul_size((n_layers + 1) * x.rows, x.n_embd, &words)) words = SIZE_MAX;
    x.x = bk_alloc(words, sizeof *x.x);
    if (!x.x) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for the states of %zu rows", x.rows);
    bk_status st = BK_OK;
    for (size_t w = 0; w < s->n_windows && !st; w++) {
        st = bk_prune_cancelled(p);
        if (!st) st = observe(p, &x, &s->feed, s->text.ids.data + w * s->window, n, s->influence);
    }
    bk_free(x.x);
    return st;
}

/* Marks the layers that go: `go` of them, in runs of `unit`. */
static bk_status choose(search *s, size_t go, size_t unit) {
    size_t n_layers = (size_t)s->p->config->n_layers;
    bool together = s->p->o->choice == BK_PRUNE_CONTIGUOUS || unit > 1;
    size_t n = s->p->o->choice == BK_PRUNE_CONTIGUOUS ? go : unit;
    bk_status st = measure_influence(s, together ? n : 1);
    for (size_t done = 0; done < go && !st; done += together ? n : 1) {
        if (s->p->o->choice == BK_PRUNE_BY_KL && !together) {
            st = next_by_kl(s, done, go);
            continue;
        }
        size_t best = n_layers, run = together ? n : 1;
        for (size_t l = 0; l + run <= n_layers; l++) {
            bool free = true;
            for (size_t i = 0; i < run; i++) free = free && !s->gone[l + i];
            if (free && (best == n_layers || s->influence[l] < s->influence[best])) best = l;
        }
        if (best == n_layers)
            return bk_fail(s->p->err, BK_ERR_INVALID, "no %zu neighbouring layers are left", run);
        for (size_t i = 0; i < run; i++) s->gone[best + i] = true;
    }
    return st;
}

static bk_status prepare(search *s) {
    bk_pruning *p = s->p;
    size_t n_layers = (size_t)p->config->n_layers;
    int context = bk_min_int(WINDOW, p->config->context_length);
    bk_status st = bk_windows_cut(p->model, p->o->calibrate, context, &s->text, p->err);
    if (st == BK_ERR_INVALID) bk_error_prefix(p->err, "calibration text");
    if (st) return st;
    s->window = s->text.context;
    s->scored = bk_min_size(SCORED, s->window / 2);
    s->n_windows = bk_min_size(WINDOWS, s->text.n);
    p->result->calibration_tokens = s->n_windows * s->window;
    st = bk_feed_init(&s->feed, p->model, s->window, s->scored, p->err);
    if (st) return st;
    bool good = true;
    for (size_t i = 0; i < s->scored && good; i++)
        good = bk_expected_init(&s->reference[i], s->feed.n_vocab);
    s->influence = bk_alloc_zero(n_layers, sizeof *s->influence);
    s->kl = bk_alloc_zero(n_layers, sizeof *s->kl);
    if (good && s->influence && s->kl) return BK_OK;
    return bk_fail(p->err, BK_ERR_NOMEM, "no memory to choose among %zu layers", n_layers);
}

/* ---- Cutting ------------------------------------------------------------------------------------- */

/* "blk.7.attn_q.weight" of a layer that goes, or moves from 7 to 5. */
static void move_tensors(bk_pruning *p, const bool *gone) {
    for (size_t i = 0; i < bk_gguf_n_tensors(p->g); i++) {
        char name[BK_TENSOR_NAME], moved[BK_TENSOR_NAME];
        int layer, at = 0, end = 0;
        snprintf(name, sizeof name, BK_STR_FMT, BK_STR_ARG(bk_gguf_tensor_at(p->g, i)->name));
        if (sscanf(name, "blk.%d%n", &layer, &end) != 1) continue;
        for (int l = 0; l < layer; l++) at += !gone[l];
        snprintf(moved, sizeof moved, "blk.%d%s", at, name + end);
        bk_cut *c = bk_edit_find(p->edit, name);
        if (gone[layer])
            bk_cut_omit(c);
        else
            bk_cut_rename(c, moved);
    }
}

/* Windows come round every so many layers, so that many go at once and the others keep theirs. */
static size_t unit_of(const bk_config *c) {
    return c->window && c->window_every ? (size_t)c->window_every : 1;
}

static void list_gone(bk_pruning *p, const bool *gone, size_t go) {
    size_t n = (size_t)p->config->n_layers, cap = sizeof p->result->removed;
    char *out = p->result->removed;
    size_t len = (size_t)snprintf(out, cap, "%zu of %zu layers:", go, n);
    for (size_t l = 0; l < n && len < cap; l++)
        if (gone[l]) len += (size_t)snprintf(out + len, cap - len, " %zu", l);
}

bk_status bk_prune_layers(bk_pruning *p) {
    size_t n = (size_t)p->config->n_layers, unit = unit_of(p->config), stay = 0;
    search s = {.p = p, .gone = bk_alloc_zero(n, sizeof *s.gone)};
    if (!s.gone) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu layers", n);
    bk_status st = bk_prune_count(p, unit > 1 ? "groups of layers" : "layers", n / unit, 1, &stay);
    stay = n - (n / unit - stay) * unit;
    if (!st && p->draft) {
        for (size_t l = stay; l < n; l++) s.gone[l] = true;
    } else if (!st) {
        st = prepare(&s);
        if (!st) st = choose(&s, n - stay, unit);
    }
    if (!st) {
        move_tensors(p, s.gone);
        bk_prune_key(p, "block_count", (uint32_t)stay);
        p->result->ratio = (double)(n - stay) / (double)n;
        list_gone(p, s.gone, n - stay);
    }
    bk_feed_free(&s.feed);
    bk_ids_free(&s.text.ids);
    for (size_t i = 0; i < SCORED; i++) bk_expected_free(&s.reference[i]);
    bk_free(s.influence);
    bk_free(s.kl);
    bk_free(s.gone);
    return st;
}
