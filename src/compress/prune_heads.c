/* Attention heads: groups of query heads with their keys and values, or as many query heads of each
 * group. All layers lose as many, each those whose outputs add least to the stream, E|W_o[:,h] o_h|^2;
 * the output matrix is fitted to the rest. Heads keep their size, which the file then has to say. */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "model/arch.h"

typedef struct heads {
    size_t n, n_kv, size;     /* before */
    size_t stay, stay_kv;     /* after */
    size_t units, stay_units; /* that compete: groups, or the query heads of a group */
    bool groups;
    float *w;       /* [n_embd][n * size] */
    double *energy; /* [n] */
    double *score;  /* [units] */
    int32_t *unit;  /* [units] that stay */
    int32_t *head;  /* [stay], and kv[stay_kv]: which */
    int32_t *kv;
    int32_t *rows; /* [(n + 2 n_kv) * size] */
    size_t n_rows;
} heads;

/* Of head h: the sum over rows of w_h G_hh w_h^T; without a Gram matrix its diagonal. */
static double energy(const heads *h, const bk_input_stats *in, size_t rows, size_t head) {
    size_t k = in->k, first = head * h->size;
    double sum = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *w = h->w + r * k + first;
        for (size_t i = 0; i < h->size; i++) {
            double x = in->gram ? 0 : (double)w[i] * in->squares[first + i];
            const float *g = in->gram ? in->gram + (first + i) * k + first : NULL;
            for (size_t j = 0; g && j < h->size; j++) x += (double)w[j] * (double)g[j];
            sum += x * (double)w[i];
        }
    }
    return sum;
}

static void list_heads(heads *h, size_t kv, size_t *n) {
    size_t per = h->n / h->n_kv;
    for (size_t q = 0; q < per; q++) h->head[(*n)++] = (int32_t)(kv * per + q);
}

/* The heads that stay, of all groups or of each. */
static bk_status choose(bk_pruning *p, heads *h) {
    size_t per = h->n / h->n_kv, n = 0;
    bk_status st = BK_OK;
    if (h->groups) {
        for (size_t g = 0; g < h->n_kv; g++) {
            h->score[g] = 0;
            for (size_t q = 0; q < per; q++) h->score[g] += h->energy[g * per + q];
        }
        st = bk_prune_best(p, h->score, h->n_kv, h->stay_units, h->kv);
        for (size_t g = 0; g < h->stay_units && !st; g++) list_heads(h, (size_t)h->kv[g], &n);
        return st;
    }
    for (size_t g = 0; g < h->n_kv && !st; g++) {
        h->kv[g] = (int32_t)g;
        st = bk_prune_best(p, h->energy + g * per, per, h->stay_units, h->unit);
        for (size_t q = 0; q < h->stay_units && !st; q++)
            h->head[n++] = (int32_t)(g * per) + h->unit[q];
    }
    return st;
}

static void add_rows(heads *h, const int32_t *list, size_t n, size_t first) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < h->size; j++)
            h->rows[h->n_rows++] = (int32_t)(first + (size_t)list[i] * h->size + j);
}

static void cut(bk_pruning *p, heads *h, const char *format, int layer) {
    bk_cut_rows(bk_edit_layer(p->edit, format, layer), h->rows, h->n_rows);
}

static bk_status cut_layer(bk_pruning *p, int layer, const bk_input_stats *in, void *user) {
    heads *h = user;
    bk_cut *out = bk_edit_layer(p->edit, "blk.%d.attn_output.weight", layer);
    bk_status st = in ? bk_cut_read(out, h->w, p->err) : BK_OK;
    for (size_t i = 0; i < h->n && !st; i++)
        h->energy[i] = in ? energy(h, in, bk_cut_n_rows(out), i) : (double)(h->n - i);
    if (!st) st = choose(p, h);
    if (st) return st;
    h->n_rows = 0;
    add_rows(h, h->head, h->stay, 0);
    cut(p, h, "blk.%d.attn_q.weight", layer);
    cut(p, h, "blk.%d.attn_q.bias", layer);
    st = bk_prune_inputs(p, out, h->rows, h->n_rows, in);
    add_rows(h, h->kv, h->stay_kv, h->n * h->size);
    add_rows(h, h->kv, h->stay_kv, (h->n + h->n_kv) * h->size);
    cut(p, h, "blk.%d.attn_qkv.weight", layer);
    h->n_rows = 0;
    add_rows(h, h->kv, h->stay_kv, 0);
    cut(p, h, "blk.%d.attn_k.weight", layer);
    cut(p, h, "blk.%d.attn_v.weight", layer);
    cut(p, h, "blk.%d.attn_k.bias", layer);
    cut(p, h, "blk.%d.attn_v.bias", layer);
    return st;
}

/* Groups or queries, whichever comes closer to the ratio. */
static bk_status plan(bk_pruning *p, heads *h) {
    size_t per = h->n / h->n_kv;
    double by_group = floor(p->ratio * (double)h->n_kv + 0.5) / (double)h->n_kv;
    double by_query = floor(p->ratio * (double)per + 0.5) / (double)per;
    h->groups = fabs(by_group - p->ratio) <= fabs(by_query - p->ratio) ? h->n_kv > 1 : per == 1;
    h->units = h->groups ? h->n_kv : per;
    bk_status st =
        bk_prune_count(p, h->groups ? "groups of attention heads" : "query heads of each group",
                       h->units, 1, &h->stay_units);
    h->stay_kv = h->groups ? h->stay_units : h->n_kv;
    h->stay = h->groups ? h->stay_units * per : h->stay_units * h->n_kv;
    return st;
}

static void set_keys(bk_pruning *p, const heads *h) {
    uint32_t size = (uint32_t)h->size;
    bk_prune_key(p, "attention.head_count", (uint32_t)h->stay);
    bk_prune_key(p, "attention.head_count_kv", (uint32_t)h->stay_kv);
    bk_prune_key(p, "attention.key_length", size);
    bk_prune_key(p, "attention.value_length", size);
    bk_prune_key(p, "rope.dimension_count", (uint32_t)p->config->rope.dims);
    snprintf(p->result->removed, sizeof p->result->removed,
             "%zu of %zu query heads and %zu of %zu heads of keys and values in each of %d layers",
             h->n - h->stay, h->n, h->n_kv - h->stay_kv, h->n_kv, p->config->n_layers);
}

bk_status bk_prune_heads(bk_pruning *p) {
    const bk_config *c = p->config;
    heads h = {.n = (size_t)c->n_heads,
               .n_kv = (size_t)c->n_kv_heads,
               .size = (size_t)c->head_size};
    size_t width = h.n * h.size;
    bk_status st = plan(p, &h);
    if (st) return st;
    h.w = bk_alloc(width * (size_t)c->n_embd, sizeof *h.w);
    h.energy = bk_alloc(h.n, sizeof *h.energy);
    h.score = bk_alloc(h.n, sizeof *h.score);
    h.unit = bk_alloc(h.n, sizeof *h.unit);
    h.head = bk_alloc(h.n, sizeof *h.head);
    h.kv = bk_alloc(h.n_kv, sizeof *h.kv);
    h.rows = bk_alloc(width + 2 * h.n_kv * h.size, sizeof *h.rows);
    if (h.w && h.energy && h.score && h.unit && h.head && h.kv && h.rows)
        st = bk_prune_each_layer(p, "blk.%d.attn_output.weight", width, cut_layer, &h);
    else
        st = bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu heads", h.n);
    if (!st) set_keys(p, &h);
    bk_free(h.w);
    bk_free(h.energy);
    bk_free(h.score);
    bk_free(h.unit);
    bk_free(h.head);
    bk_free(h.kv);
    bk_free(h.rows);
    return st;
}
