/* One LSTM layer in one parallel region. A slice of hidden units, all four gates of them, is computed
 * by one thread in all steps: its weights are packed once and stay in that core's cache, its gates,
 * cells and outputs follow from the product while they are in the cache, and are packed for the next
 * step's product. One barrier a step. */
#include <string.h>

#include "device/nn_cpu.h"

enum {
    SLICE = 32,        /* hidden units: a panel of the widest kernel */
    SMALL = 64 * 1024, /* multiplications of a step that one thread does alone */
    MOST_AHEAD = 6
};

typedef struct job {
    const bk_nn_kernels *kernels;
    const bk_sgemm *sgemm;
    bk_pool *pool; /* NULL: one thread alone */
    bool backward;
    size_t T, B, H, n_slices;
    size_t k, part; /* of a step's sums: H forward, 4 H backward */
    const float *w;
    float *gates, *h, *c, *dh;
    float *dstate, *dc; /* [2][B][H] or NULL; [B][H] */
    float *weights;     /* packed, 4 H * SLICE for each slice */
    float *rows[2];     /* [B][k] of a step, packed: h forward, the gates' gradients backward */
} job;

static bool next_slice(const job *x, int thread, size_t *own, size_t *slice) {
    if (x->pool) return bk_pool_share(x->pool, thread, x->n_slices, slice);
    *slice = (*own)++;
    return *slice < x->n_slices;
}

static void wait_for_all(const job *x) {
    if (x->pool) bk_pool_barrier(x->pool);
}

/* Hidden units [u, u + n). */
typedef struct units {
    size_t u, n;
    float *weights;
} units;

static units units_of(const job *x, size_t slice) {
    size_t u = slice * SLICE;
    return (units){u, bk_min_size(SLICE, x->H - u), x->weights + u * 4 * x->H};
}

/* ---- Products ------------------------------------------------------------------------------------- */

/* The weights of a slice: forward four gates' rows, each [k][n]; backward their columns. */
static void pack_weights(const job *x, const units *s) {
    size_t H = x->H, pitch = bk_round_up(s->n, BK_SGEMM_LANES), gates = x->backward ? 1 : 4;
    for (size_t g = 0; g < gates; g++) {
        for (size_t p = 0; p < x->k; p += x->part) {
            size_t k = bk_min_size(x->part, x->k - p);
            float *out = s->weights + g * SLICE * x->k + p * pitch;
            const float *from = x->w + (x->backward ? p * H + s->u : (g * H + s->u) * H + p);
            x->sgemm->pack_b(from, H, !x->backward, s->n, k, out);
        }
    }
}

/* Columns [0, n) of from[B][ld] as values [at, at + n) of k. */
static void pack_rows(const job *x, const float *from, size_t ld, size_t at, size_t n, float *out) {
    size_t strips = bk_div_up(x->B, x->sgemm->rows), stop = at + n, to;
    for (size_t p = at; p < stop; p = to, from += to - at, at = to) {
        size_t first = p / x->part * x->part, k = bk_min_size(x->part, x->k - first);
        to = bk_min_size(stop, first + k);
        for (size_t s = 0, i = 0, end; s < strips; s++, i = end) {
            end = bk_sgemm_strip(x->B, strips, s + 1);
            x->sgemm->pack_a(from + i * ld, ld, false, end - i, to - p,
                             out + first * x->B + i * k + (p - first) * (end - i));
        }
    }
}

/* c[B][ldc] (+)= packed rows times the packed weights at w, for a slice's n columns. */
static void product(const job *x, const float *rows, const float *w, size_t n, float *c, size_t ldc,
                    bool add, const bk_sgemm_ahead *ahead, size_t n_ahead) {
    size_t pitch = bk_round_up(n, BK_SGEMM_LANES);
    for (size_t p = 0; p < x->k; p += x->part) {
        bk_sgemm_block b = {.m = x->B, .n = n, .k = bk_min_size(x->part, x->k - p)};
        b.a = rows + p * x->B;
        b.b = w + p * pitch;
        b.c = c;
        b.ldc = ldc;
        b.add = add || p > 0;
        b.ahead = ahead;
        b.n_ahead = p == 0 ? n_ahead : 0;
        x->sgemm->block(&b);
    }
}

/* ---- Forward --------------------------------------------------------------------------------------- */

/* No line more than needed: the next may be another thread's, which writes it now. */
static bk_sgemm_ahead lines_of(const job *x, const float *at, size_t ld, size_t n) {
    return (bk_sgemm_ahead){at, ld, x->B, bk_div_up(n + (uintptr_t)at % 64 / 4, 16)};
}

static void forward(const job *x, size_t t, const units *s) {
    size_t H = x->H, B = x->B, u = s->u;
    float *gates = x->gates + t * B * 4 * H, *c = x->c + t * B * H, *h = x->h + (t + 1) * B * H;
    for (size_t g = 0; g < 4; g++) {
        /* The same gates of the next step; with the first what is written in this one. */
        bk_sgemm_ahead ahead[3];
        size_t n = 0;
        if (g == 0) ahead[n++] = lines_of(x, c + B * H + u, H, s->n);
        if (g == 0) ahead[n++] = lines_of(x, h + u, H, s->n);
        if (t + 1 < x->T) ahead[n++] = lines_of(x, gates + (4 * B + g) * H + u, 4 * H, s->n);
        product(x, x->rows[t % 2], s->weights + g * SLICE * x->k, s->n, gates + g * H + u, 4 * H,
                true, ahead, n);
    }
    for (size_t b = 0; b < B; b++) {
        size_t at = b * H + u;
        x->kernels->lstm(gates + b * 4 * H + u, H, c + at, s->n, c + B * H + at, h + at);
    }
    if (t + 1 < x->T) pack_rows(x, h + u, H, u, s->n, x->rows[(t + 1) % 2]);
}

static void forward_region(void *arg, int thread) {
    const job *x = arg;
    unsigned before = bk_nn_cpu_flush_begin();
    for (size_t own = 0, i; next_slice(x, thread, &own, &i);) {
        units s = units_of(x, i);
        pack_weights(x, &s);
        pack_rows(x, x->h + s.u, x->H, s.u, s.n, x->rows[0]);
    }
    for (size_t t = 0; t < x->T; t++) {
        wait_for_all(x);
        for (size_t own = 0, i; next_slice(x, thread, &own, &i);) {
            units s = units_of(x, i);
            forward(x, t, &s);
        }
    }
    bk_nn_cpu_flush_end(before);
}

/* ---- Backward -------------------------------------------------------------------------------------- */

/* What the state after the last step has for gradient. */
static void begin(const job *x, const units *s) {
    size_t H = x->H, BH = x->B * H;
    for (size_t b = 0; b < x->B; b++) {
        size_t at = b * H + s->u;
        if (x->dstate)
            x->kernels->add(x->dh + (x->T - 1) * BH + at, x->dstate + at, s->n);
        else
            memset(x->dc + at, 0, s->n * sizeof(float));
    }
}

static void backward(const job *x, size_t t, const units *s) {
    size_t H = x->H, B = x->B, u = s->u;
    float *gates = x->gates + t * B * 4 * H, *c = x->c + t * B * H, *dh = x->dh + t * B * H;
    if (t + 1 < x->T) {
        bk_sgemm_ahead ahead[MOST_AHEAD];
        size_t n = 0;
        for (size_t g = 0; g < 4; g++) ahead[n++] = lines_of(x, gates + g * H + u, 4 * H, s->n);
        ahead[n++] = lines_of(x, c + u, H, s->n);
        if (t) ahead[n++] = lines_of(x, dh - B * H + u, H, s->n);
        product(x, x->rows[(t + 1) % 2], s->weights, s->n, dh + u, H, true, ahead, n);
    } else {
        begin(x, s);
    }
    for (size_t b = 0; b < B; b++) {
        size_t at = b * H + u;
        x->kernels->lstm_bwd(gates + b * 4 * H + u, H, c + at, c + B * H + at, dh + at, s->n,
                             x->dc + at);
    }
    if (t == 0 && !x->dstate) return;
    for (size_t g = 0; g < 4; g++)
        pack_rows(x, gates + g * H + u, 4 * H, g * H + u, s->n, x->rows[t % 2]);
}

static void backward_region(void *arg, int thread) {
    const job *x = arg;
    unsigned before = bk_nn_cpu_flush_begin();
    for (size_t t = x->T; t-- > 0;) {
        for (size_t own = 0, i; next_slice(x, thread, &own, &i);) {
            units s = units_of(x, i);
            if (t + 1 == x->T) pack_weights(x, &s);
            backward(x, t, &s);
        }
        wait_for_all(x);
    }
    for (size_t own = 0, i; x->dstate && next_slice(x, thread, &own, &i);) {
        units s = units_of(x, i);
        product(x, x->rows[0], s.weights, s.n, x->dstate + s.u, x->H, false, NULL, 0);
    }
    bk_nn_cpu_flush_end(before);
}

/* ---- Calls ------------------------------------------------------------------------------------------ */

/* Scratch: packed weights and rows, and dc where the caller has no place for it. */
static bool prepare(bk_nn_cpu *d, const bk_nn_lstm *l, bool backward, job *x) {
    size_t H = l->H, BH = l->B * H;
    *x = (job){.kernels = d->kernels, .sgemm = d->sgemm, .backward = backward};
    x->T = l->T, x->B = l->B, x->H = H;
    x->n_slices = bk_div_up(H, SLICE);
    x->k = backward ? 4 * H : H;
    x->part = bk_nn_part_of(x->k);
    x->w = bk_nn_floats(l->w_hh);
    x->gates = bk_nn_floats(l->gates);
    x->h = bk_nn_floats(l->h), x->c = bk_nn_floats(l->c);
    x->dh = bk_nn_floats(l->dh), x->dstate = bk_nn_floats(l->dstate);
    if (d->base.threads > 1 && 4 * BH * H >= SMALL) x->pool = d->pool;
    size_t weights = x->n_slices * SLICE * 4 * H, rows = bk_round_up(l->B * x->k, 16);
    x->weights = bk_nn_cpu_scratch(d, (weights + 2 * rows + BH) * sizeof(float));
    if (!x->weights) return false;
    x->rows[0] = x->weights + weights;
    x->rows[1] = x->rows[0] + rows;
    x->dc = x->dstate ? x->dstate + BH : x->rows[1] + rows;
    return true;
}

static void run(job *x, bk_pool_fn region) {
    if (x->pool)
        bk_pool_run_steady(x->pool, region, x);
    else
        region(x, 0);
}

void bk_nn_cpu_lstm(bk_nn *d, const bk_nn_lstm *l) {
    job x;
    if (l->T && l->B && l->H && prepare((bk_nn_cpu *)d, l, false, &x)) run(&x, forward_region);
}

void bk_nn_cpu_lstm_bwd(bk_nn *d, const bk_nn_lstm *l) {
    job x;
    if (l->T && l->B && l->H && prepare((bk_nn_cpu *)d, l, true, &x)) run(&x, backward_region);
}
