/* Losses: parts are some rows of the output layer. */
#include <math.h>
#include <string.h>

#include "device/nn_cpu.h"

enum { PART_ROWS = 16 };

typedef struct loss_job {
    const bk_nn_kernels *k;
    size_t R, ld, n;
    float *x, *loss;
    bool backward;
    float scale;
    const int32_t *ids; /* the target, or the teacher's best */
    const float *logp;
    size_t n_best;
    float *kept; /* [thread][n_best]: the student's values of the best */
} loss_job;

static void each(bk_nn_cpu *d, loss_job *j, bk_nn_part fn) {
    j->k = d->kernels;
    bk_nn_cpu_each(d, bk_div_up(j->R, PART_ROWS), 8 * j->R * j->n, fn, j);
}

/* ---- One class as target ----------------------------------------------------------------------------- */

static void entropy_row(const loss_job *j, float *x, int32_t target, float *loss) {
    *loss = 0;
    if (target >= 0) {
        double all = j->k->log_sum(x, j->n);
        *loss = (float)(all - (double)x[target]);
        if (!j->backward) return;
        j->k->exp_scaled(x, j->n, (float)all, j->scale, x);
        x[target] -= j->scale;
    } else if (j->backward) {
        memset(x, 0, j->n * sizeof *x);
    }
}

static void entropy_part(const void *arg, size_t part, int thread) {
    const loss_job *j = arg;
    size_t end = bk_min_size(j->R, (part + 1) * PART_ROWS);
    (void)thread;
    for (size_t r = part * PART_ROWS; r < end; r++)
        entropy_row(j, j->x + r * j->ld, j->ids[r], j->loss + r);
}

static void cross_entropy(bk_nn *nn, bk_vec x, size_t R, size_t ld, size_t n, bk_vec target,
                          bk_vec loss, bool backward, float scale) {
    loss_job j = {.R = R, .ld = ld, .n = n, .x = bk_nn_floats(x), .loss = bk_nn_floats(loss)};
    j.backward = backward, j.scale = scale;
    j.ids = bk_nn_ints(target);
    each((bk_nn_cpu *)nn, &j, entropy_part);
}

/* ---- A distribution as target ------------------------------------------------------------------------ */

/* Of a row: m best classes, the student's values of them, and log sums of the others' and of all. */
typedef struct distil_row {
    const int32_t *ids;
    const float *logp;
    size_t m;
    float *best;
    double rest_sum, all_sum;
} distil_row;

/* Takes the best classes out of x, as if they could not happen, to add up the others. */
static void take_best(const loss_job *j, float *x, distil_row *row) {
    for (size_t i = 0; i < row->m; i++) {
        row->best[i] = x[row->ids[i]];
        x[row->ids[i]] = -INFINITY;
    }
    row->rest_sum = j->k->log_sum(x, j->n);
    double largest = row->rest_sum, sum = 0;
    for (size_t i = 0; i < row->m; i++) largest = fmax(largest, (double)row->best[i]);
    for (size_t i = 0; i < row->m; i++) sum += exp((double)row->best[i] - largest);
    row->all_sum = largest + log(sum + exp(row->rest_sum - largest));
}

/* With q the teacher's and p the student's probabilities, Q and P what the others have together:
 * loss = sum of q log(q / p) + Q log(Q / P); the slope at class i is p_i - q_i for the best, for the
 * others p_i - Q p_i / P. */
static void distil_one(const loss_job *j, float *x, distil_row *row, float *loss) {
    double kl = 0, left = 1;
    take_best(j, x, row);
    for (size_t i = 0; i < row->m; i++) {
        double logq = (double)row->logp[i], q = exp(logq);
        if (q > 0) kl += q * (logq - ((double)row->best[i] - row->all_sum));
        left -= q;
    }
    bool some = row->rest_sum > -INFINITY;
    left = some ? fmax(left, 0) : 0;
    if (left > 0) kl += left * (log(left) - (row->rest_sum - row->all_sum));
    *loss = (float)kl;
    if (!j->backward) {
        for (size_t i = 0; i < row->m; i++) x[row->ids[i]] = row->best[i];
        return;
    }
    double share = some ? exp(row->rest_sum - row->all_sum) - left : 0;
    float shift = some ? (float)row->rest_sum : 0;
    j->k->exp_scaled(x, j->n, shift, (float)(share * (double)j->scale), x);
    for (size_t i = 0; i < row->m; i++) {
        double p = exp((double)row->best[i] - row->all_sum), q = exp((double)row->logp[i]);
        x[row->ids[i]] = (float)((p - q) * (double)j->scale);
    }
}

static void distil_part(const void *arg, size_t part, int thread) {
    const loss_job *j = arg;
    size_t end = bk_min_size(j->R, (part + 1) * PART_ROWS);
    for (size_t r = part * PART_ROWS; r < end; r++) {
        float *x = j->x + r * j->ld;
        distil_row row = {.ids = j->ids + r * j->n_best, .logp = j->logp + r * j->n_best};
        row.best = j->kept + (size_t)thread * j->n_best;
        while (row.m < j->n_best && row.ids[row.m] >= 0) row.m++;
        if (row.m) {
            distil_one(j, x, &row, j->loss + r);
        } else {
            j->loss[r] = 0;
            if (j->backward) memset(x, 0, j->n * sizeof *x);
        }
    }
}

static void distil(bk_nn *nn, bk_vec x, size_t R, size_t ld, size_t n, bk_vec ids, bk_vec logp,
                   size_t n_best, bk_vec loss, bool backward, float scale) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    loss_job j = {.R = R, .ld = ld, .n = n, .x = bk_nn_floats(x), .loss = bk_nn_floats(loss)};
    j.backward = backward, j.scale = scale;
    j.ids = bk_nn_ints(ids), j.logp = bk_nn_floats(logp), j.n_best = n_best;
    j.kept = bk_nn_cpu_scratch(d, n_best * (size_t)nn->threads * sizeof *j.kept);
    if (j.kept) each(d, &j, distil_part);
}

void bk_nn_cpu_loss_ops(struct bk_nn_ops *o) {
    o->cross_entropy = cross_entropy;
    o->distil = distil;
}
