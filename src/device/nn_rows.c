/* Operations over rows: parts are some rows, or some columns of all rows where rows are added up. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "device/nn_cpu.h"

/* Rows of a part: a fixed number, as gradients of weights are added up part by part. Columns: two
 * lines of memory, each added up over the rows in their order. */
enum { PART_ROWS = 32, PART_COLS = 32 };

/* The part's first row and the one behind its last. */
typedef struct range {
    size_t first, end;
} range;

static range rows_of(size_t R, size_t part) {
    return (range){part * PART_ROWS, bk_min_size(R, (part + 1) * PART_ROWS)};
}

static size_t row_parts(size_t R) { return bk_div_up(R, PART_ROWS); }

/* ---- Sums of columns and the embedding ------------------------------------------------------------ */

typedef struct col_job {
    const bk_nn_kernels *k;
    const float *x;
    const int32_t *ids;
    size_t R, ld, n;
    float *w;
} col_job;

/* A part's rows to one. */
static void fold_part(const void *arg, size_t part, int thread) {
    const col_job *j = arg;
    range rows = rows_of(j->R, part);
    float *w = j->w + part * j->n;
    (void)thread;
    memcpy(w, j->x + rows.first * j->ld, j->n * sizeof *w);
    for (size_t r = rows.first + 1; r < rows.end; r++) j->k->add(w, j->x + r * j->ld, j->n);
}

static void add_part(const void *arg, size_t part, int thread) {
    const col_job *j = arg;
    size_t at = part * PART_COLS;
    (void)thread;
    j->k->col_sum(j->x + at, j->R, j->ld, bk_min_size(PART_COLS, j->n - at), j->w + at);
}

/* w += all parts' rows [parts][n]. */
static void add_parts(bk_nn_cpu *d, const float *x, size_t parts, size_t n, float *w) {
    col_job j = {d->kernels, x, NULL, parts, n, n, w};
    bk_nn_cpu_each(d, bk_div_up(n, PART_COLS), parts * n, add_part, &j);
}

static void col_sum(bk_nn *nn, bk_vec x, size_t R, size_t ld, size_t n, bk_vec w) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    size_t parts = row_parts(R);
    col_job j = {d->kernels, bk_nn_floats(x), NULL, R, ld, n, NULL};
    j.w = bk_nn_cpu_scratch(d, parts * n * sizeof *j.w);
    if (!j.w) return;
    bk_nn_cpu_each(d, parts, R * n, fold_part, &j);
    add_parts(d, j.w, parts, n, bk_nn_floats(w));
}

typedef struct embed_job {
    const int32_t *ids;
    const float *table;
    size_t R, dim;
    float *y;
} embed_job;

static void embed_part(const void *arg, size_t part, int thread) {
    const embed_job *j = arg;
    range rows = rows_of(j->R, part);
    (void)thread;
    for (size_t r = rows.first; r < rows.end; r++)
        memcpy(j->y + r * j->dim, j->table + (size_t)j->ids[r] * j->dim, j->dim * sizeof *j->y);
}

static void embed(bk_nn *d, bk_vec ids, size_t R, bk_vec table, size_t dim, bk_vec y) {
    embed_job j = {bk_nn_ints(ids), bk_nn_floats(table), R, dim, bk_nn_floats(y)};
    bk_nn_cpu_each((bk_nn_cpu *)d, row_parts(R), R * dim, embed_part, &j);
}

static void embed_bwd_part(const void *arg, size_t part, int thread) {
    const col_job *j = arg;
    size_t at = part * PART_COLS, n = bk_min_size(PART_COLS, j->n - at);
    (void)thread;
    for (size_t r = 0; r < j->R; r++)
        j->k->add(j->w + (size_t)j->ids[r] * j->n + at, j->x + r * j->n + at, n);
}

static void embed_bwd(bk_nn *nn, bk_vec ids, size_t R, bk_vec dy, size_t dim, bk_vec dtable) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    col_job j = {d->kernels, bk_nn_floats(dy), bk_nn_ints(ids), R, dim, dim, bk_nn_floats(dtable)};
    bk_nn_cpu_each(d, bk_div_up(dim, PART_COLS), R * dim, embed_bwd_part, &j);
}

/* ---- Norm ----------------------------------------------------------------------------------------- */

typedef struct norm_job {
    const bk_nn_kernels *k;
    size_t R, dim;
    const float *x, *w, *dy;
    float eps;
    bool add;
    float *y, *rstd, *dx;
    float *dw; /* [parts][dim] */
} norm_job;

static void norm_part(const void *arg, size_t part, int thread) {
    const norm_job *j = arg;
    range rows = rows_of(j->R, part);
    (void)thread;
    for (size_t r = rows.first, at = r * j->dim; r < rows.end; r++, at += j->dim)
        j->rstd[r] = j->k->rms_norm(j->x + at, j->w, j->dim, j->eps, j->y + at);
}

static void rms_norm(bk_nn *nn, bk_vec x, size_t R, size_t dim, bk_vec w, float eps, bk_vec y,
                     bk_vec rstd) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    norm_job j = {.k = d->kernels, .R = R, .dim = dim, .eps = eps};
    j.x = bk_nn_floats(x), j.w = bk_nn_floats(w);
    j.y = bk_nn_floats(y), j.rstd = bk_nn_floats(rstd);
    bk_nn_cpu_each(d, row_parts(R), R * dim, norm_part, &j);
}

static void norm_bwd_part(const void *arg, size_t part, int thread) {
    const norm_job *j = arg;
    range rows = rows_of(j->R, part);
    float *dw = j->dw + part * j->dim;
    (void)thread;
    memset(dw, 0, j->dim * sizeof *dw);
    for (size_t r = rows.first, at = r * j->dim; r < rows.end; r++, at += j->dim)
        j->k->rms_norm_bwd(j->x + at, j->rstd[r], j->w, j->dy + at, j->dim, j->dx + at, j->add, dw);
}

static void rms_norm_bwd(bk_nn *nn, bk_vec x, bk_vec rstd, size_t R, size_t dim, bk_vec w,
                         bk_vec dy, bk_vec dx, bool add, bk_vec dw) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    size_t parts = row_parts(R);
    norm_job j = {.k = d->kernels, .R = R, .dim = dim, .add = add};
    j.x = bk_nn_floats(x), j.w = bk_nn_floats(w), j.dy = bk_nn_floats(dy);
    j.rstd = bk_nn_floats(rstd), j.dx = bk_nn_floats(dx);
    j.dw = bk_nn_cpu_scratch(d, parts * dim * sizeof(float));
    if (!j.dw) return;
    bk_nn_cpu_each(d, parts, 2 * R * dim, norm_bwd_part, &j);
    add_parts(d, j.dw, parts, dim, bk_nn_floats(dw));
}

/* ---- Rotation ------------------------------------------------------------------------------------- */

typedef struct rope_job {
    const bk_nn_kernels *k;
    const float *cos, *sin;
    size_t R, ld, T;
    int n_heads, head_size;
    float sign;
    float *x;
} rope_job;

/* Angles of [0, T), kept for the calls to come: all layers turn by the same. */
static bool rope_table(bk_nn_cpu *d, size_t T, int head_size, float theta) {
    if (T <= d->rope_T && head_size == d->rope_head && theta == d->rope_theta) return true;
    size_t head = (size_t)head_size;
    bk_free(d->rope);
    d->rope_T = 0;
    d->rope = bk_alloc(2 * T, head * sizeof *d->rope);
    if (!d->rope) {
        bk_error err;
        bk_fail(&err, BK_ERR_NOMEM, "no memory for the rotations of %zu positions", T);
        bk_nn_cpu_failed(d, &err);
        return false;
    }
    float *cosines = d->rope, *sines = d->rope + T * head;
    for (size_t i = 0; i + 1 < head; i += 2) {
        double turn = pow((double)theta, -(double)i / (double)head);
        for (size_t t = 0; t < T; t++) {
            double angle = (double)t * turn;
            float s = (float)sin(angle);
            cosines[t * head + i] = cosines[t * head + i + 1] = (float)cos(angle);
            sines[t * head + i] = -s;
            sines[t * head + i + 1] = s;
        }
    }
    d->rope_T = T;
    d->rope_head = head_size;
    d->rope_theta = theta;
    return true;
}

static void rope_part(const void *arg, size_t part, int thread) {
    const rope_job *j = arg;
    range rows = rows_of(j->R, part);
    size_t head = (size_t)j->head_size;
    (void)thread;
    for (size_t r = rows.first; r < rows.end; r++) {
        size_t t = r % j->T * head;
        float *x = j->x + r * j->ld;
        for (int h = 0; h < j->n_heads; h++, x += head)
            j->k->rotate(x, j->cos + t, j->sin + t, j->sign, head);
    }
}

static void rope(bk_nn *nn, bk_vec x, size_t R, size_t ld, size_t T, int n_heads, int head_size,
                 float theta, int sign) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    if (!rope_table(d, T, head_size, theta)) return;
    rope_job j = {.k = d->kernels, .R = R, .ld = ld, .T = T, .n_heads = n_heads};
    j.head_size = head_size;
    j.cos = d->rope, j.sin = d->rope + d->rope_T * (size_t)head_size;
    j.sign = (float)sign;
    j.x = bk_nn_floats(x);
    bk_nn_cpu_each(d, row_parts(R), R * (size_t)(n_heads * head_size), rope_part, &j);
}

/* ---- Through a block format ------------------------------------------------------------------------- */

typedef struct trip_job {
    const bk_quant *type;
    size_t k, row_bytes;
    const float *x;
    float *y;
    uint8_t *blocks; /* a row per thread */
} trip_job;

static void trip_part(const void *arg, size_t row, int thread) {
    const trip_job *j = arg;
    uint8_t *blocks = j->blocks + (size_t)thread * j->row_bytes;
    j->type->quantize(j->x + row * j->k, blocks, j->k);
    bk_quant_dequantize(j->type, blocks, j->y + row * j->k, j->k);
}

static void round_trip(bk_nn *nn, const bk_quant *type, bk_vec x, size_t n_rows, size_t k,
                       bk_vec y) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    if (!type->quantize || k % type->block_len) {
        bk_error err;
        bk_fail(&err, BK_ERR_UNSUPPORTED, "rows of %zu weights cannot be made %s", k, type->name);
        bk_nn_cpu_failed(d, &err);
        return;
    }
    trip_job j = {.type = type, .k = k, .x = bk_nn_floats(x), .y = bk_nn_floats(y)};
    j.row_bytes = bk_round_up(k / type->block_len * type->block_bytes, BK_CACHE_LINE);
    j.blocks = bk_nn_cpu_scratch(d, j.row_bytes * (size_t)nn->threads);
    if (j.blocks) bk_nn_cpu_each(d, n_rows, 16 * n_rows * k, trip_part, &j);
}

void bk_nn_cpu_row_ops(struct bk_nn_ops *o) {
    o->col_sum = col_sum;
    o->embed = embed;
    o->embed_bwd = embed_bwd;
    o->rms_norm = rms_norm;
    o->rms_norm_bwd = rms_norm_bwd;
    o->rope = rope;
    o->round_trip = round_trip;
}
