#include "device/trace.h"

#include <string.h>

#include "base/mem.h"
#include "kernel/packed.h"

/* ---- What a command costs ------------------------------------------------------------------------- */

size_t bk_cmd_experts(const bk_cmd *c) {
    size_t n = 0;
    if (c->op != BK_OP_PRODUCT || !c->product.routes) return 0;
    const bk_routes *r = c->product.routes;
    for (int e = 0; e < r->n_experts; e++) n += r->first[e + 1] > r->first[e];
    return n;
}

static bk_cost product_cost(const bk_cmd *c, size_t experts) {
    bk_cost cost = {0};
    const bk_routes *routes = c->product.routes;
    size_t of = routes ? (size_t)routes->n_experts : 1;
    for (int i = 0; i < c->product.n; i++) {
        const bk_weight *w = c->product.w[i];
        if (c->product.screen) continue; /* nobody knows beforehand */
        if (c->product.groups) {
            size_t all = bk_div_up(bk_weight_rows(w), BK_GROUP_ROWS);
            cost.bytes += bk_weight_bytes(w) / all * c->product.n_groups;
            continue;
        }
        /* Kernels widen halves and multiply in float. */
        bk_arith arith = bk_weight_type(w)->bits ? BK_ARITH_INT8 : BK_ARITH_F32;
        cost.bytes += bk_weight_bytes(w) / of * (routes ? experts : 1);
        cost.ops[arith] += 2 * (uint64_t)c->rows * (bk_weight_rows(w) / of) * c->product.input.k;
    }
    return cost;
}

/* Scores and averages: two products of head_size for each query head and position seen. Positions that
 * several rows see are read once. */
static bk_cost attention_cost(const bk_cmd *c) {
    const bk_attn_shape *s = c->attention.shape;
    const bk_row *row = c->attention.row;
    uint64_t seen = 0, read = 0;
    for (size_t r = 0; r < c->rows; r++) {
        uint64_t pos = row[r].pos + (uint64_t)1, window = (uint64_t)s->window;
        uint64_t sees = window && pos > window ? window : pos;
        seen += sees;
        bool first = r == 0 || row[r].seq != row[r - 1].seq;
        read += first ? sees : 1;
    }
    bk_cost cost = {.bytes = read * bk_page_layer_bytes(s->kv_type, s->n_kv_heads, s->head_size) /
                             bk_page_positions()};
    cost.ops[BK_ARITH_INT16] = 4 * seen * (uint64_t)s->n_heads * (uint64_t)s->head_size;
    return cost;
}

/* The matrices count once for a pass, as those of products do. */
static bk_cost lstm_cost(const bk_cmd *c) {
    bk_cost cost = {0};
    for (int g = 0; g < 4; g++) {
        const bk_weight *w = c->lstm.w[g];
        cost.bytes += bk_weight_bytes(w);
        cost.ops[bk_weight_type(w)->bits ? BK_ARITH_INT8 : BK_ARITH_F32] +=
            2 * (uint64_t)c->rows * c->lstm.n * c->lstm.n;
    }
    return cost;
}

static bk_cost embed_cost(const bk_cmd *c) {
    size_t rows = bk_round_up(bk_weight_rows(c->embed.table), BK_GROUP_ROWS);
    return (bk_cost){.bytes = c->rows * (bk_weight_bytes(c->embed.table) / rows)};
}

bk_cost bk_cmd_cost(const bk_cmd *c, size_t experts) {
    switch (c->op) {
    case BK_OP_PRODUCT: return product_cost(c, experts);
    case BK_OP_ATTENTION: return attention_cost(c);
    case BK_OP_LSTM: return lstm_cost(c);
    case BK_OP_EMBED: return embed_cost(c);
    case BK_OP_ROUTE:
    case BK_OP_COMBINE:
    case BK_OP_SOFT_CAP:
    case BK_OP_SPREAD: break;
    }
    return (bk_cost){0};
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

static void types_of(const bk_cmd *c, const bk_quant *types[BK_MAX_PRODUCTS]) {
    int n = 0;
    if (c->op == BK_OP_EMBED) types[n++] = bk_weight_type(c->embed.table);
    if (c->op == BK_OP_LSTM) types[n++] = bk_weight_type(c->lstm.w[0]);
    for (int i = 0; c->op == BK_OP_PRODUCT && i < c->product.n; i++) {
        const bk_quant *type = bk_weight_type(c->product.w[i]);
        bool known = false;
        for (int k = 0; k < n; k++) known = known || types[k] == type;
        if (!known) types[n++] = type;
    }
}

/* When there are too many rows, the last one takes the rest. */
static bk_trace_row *row_of(bk_trace *t, const bk_cmd *c) {
    const bk_quant *types[BK_MAX_PRODUCTS] = {NULL};
    const char *what = c->what ? c->what : "";
    types_of(c, types);
    for (size_t i = 0; i < t->n_rows; i++) {
        bk_trace_row *r = &t->rows[i];
        if (memcmp(r->types, types, sizeof types) == 0 && strcmp(r->what, what) == 0) return r;
    }
    if (t->n_rows == BK_TRACE_ROWS) {
        bk_trace_row *rest = &t->rows[BK_TRACE_ROWS - 1];
        rest->what = "others";
        memset(rest->types, 0, sizeof rest->types);
        return rest;
    }
    bk_trace_row *r = &t->rows[t->n_rows++];
    *r = (bk_trace_row){.what = what};
    memcpy(r->types, types, sizeof types);
    return r;
}

/* ---- Adding up ------------------------------------------------------------------------------------- */

/* When the first thread began command i. */
static uint64_t first_begin(const bk_trace *t, size_t i) {
    uint64_t first = t->threads[0].slots[i].at[0];
    for (int k = 1; k < t->n_threads; k++) {
        uint64_t at = t->threads[k].slots[i].at[0];
        if (at < first) first = at;
    }
    return first;
}

/* Ticks at work; *prepare: of the first stretch, where there are several. */
static uint64_t slot_work(const bk_trace_slot *s, uint64_t *prepare) {
    uint64_t work = 0;
    for (uint32_t i = 0; i + 1 < s->n; i += 2) work += s->at[i + 1] - s->at[i];
    if (s->n > 2) *prepare += s->at[1] - s->at[0];
    return work;
}

static void add_command(bk_trace *t, const bk_cmd *c, size_t i, uint64_t elapsed) {
    uint64_t work = 0, prepare = 0;
    for (int k = 0; k < t->n_threads; k++) work += slot_work(&t->threads[k].slots[i], &prepare);
    bk_trace_row *r = row_of(t, c);
    bk_cost cost = bk_cmd_cost(c, t->threads[0].slots[i].experts);
    double scale = t->tick_ns / t->n_threads, elapsed_ns = (double)elapsed * t->tick_ns;
    double work_ns = (double)work * scale;
    r->calls++;
    r->elapsed_ns += elapsed_ns;
    /* Clocks of two processors may differ by some ticks. */
    r->work_ns += work_ns < elapsed_ns ? work_ns : elapsed_ns;
    r->prepare_ns += (double)prepare * scale;
    r->cost.bytes += cost.bytes;
    for (int a = 0; a < BK_N_ARITH; a++) r->cost.ops[a] += cost.ops[a];
}

/* Both clocks at one moment: where the thread is not interrupted between reading them. Nanoseconds that
 * the reading took. */
static uint64_t read_clocks(uint64_t *ns, uint64_t *ticks) {
    *ns = bk_now_ns();
    *ticks = bk_ticks();
    return bk_now_ns() - *ns;
}

/* The length of a tick, the better the longer the trace has run. */
static void calibrate(bk_trace *t) {
    uint64_t ns, ticks, took = read_clocks(&ns, &ticks);
    if (took > 2000 && t->tick_ns > 0) return;
    if (ticks > t->ticks0) t->tick_ns = (double)(ns - t->ns0) / (double)(ticks - t->ticks0);
}

bk_status bk_trace_begin(bk_trace *t, size_t n_cmds, bk_error *err) {
    uint64_t start = bk_now_ns();
    for (int k = 0; n_cmds > t->cap && k < t->n_threads; k++) {
        bk_free(t->threads[k].slots);
        t->threads[k].slots = bk_alloc_aligned(n_cmds * sizeof(bk_trace_slot));
        if (t->threads[k].slots) continue;
        t->cap = 0;
        return bk_fail(err, BK_ERR_NOMEM, "no memory for the trace of %zu commands", n_cmds);
    }
    if (n_cmds > t->cap) t->cap = n_cmds;
    t->own_ns += bk_now_ns() - start;
    t->begin = bk_ticks();
    return BK_OK;
}

void bk_trace_end(bk_trace *t, const bk_cmd *cmds, size_t n_cmds) {
    uint64_t end = bk_ticks(), now = bk_now_ns(), at = t->begin;
    calibrate(t);
    for (size_t i = 0; i < n_cmds; i++) {
        uint64_t next = i + 1 < n_cmds ? first_begin(t, i + 1) : end;
        if (next < at) next = at;
        add_command(t, &cmds[i], i, next - at);
        at = next;
    }
    t->region_ns += (double)(at - t->begin) * t->tick_ns;
    t->lists++;
    t->own_ns += bk_now_ns() - now;
}

bk_status bk_trace_create(int n_threads, bk_trace **out, bk_error *err) {
    *out = NULL;
    bk_trace *t = bk_alloc_zero(1, sizeof *t);
    if (t) t->threads = bk_alloc_aligned((size_t)n_threads * sizeof *t->threads);
    if (!t || !t->threads) {
        bk_free(t);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a trace");
    }
    memset(t->threads, 0, (size_t)n_threads * sizeof *t->threads);
    t->n_threads = n_threads;
    for (int i = 0; i < 20 && read_clocks(&t->ns0, &t->ticks0) > 1000; i++) continue;
    *out = t;
    return BK_OK;
}

void bk_trace_destroy(bk_trace **trace) {
    bk_trace *t = *trace;
    if (!t) return;
    *trace = NULL;
    for (int k = 0; k < t->n_threads; k++) bk_free(t->threads[k].slots);
    bk_free(t->threads);
    bk_free(t);
}

void bk_trace_clear(bk_trace *t) {
    t->n_rows = t->lists = 0;
    t->region_ns = 0;
    t->own_ns = 0;
}
