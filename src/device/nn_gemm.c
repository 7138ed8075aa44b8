/* Matrix products: parts are rows of the result. */
#include <string.h>

#include "device/nn_cpu.h"

typedef struct gemm_job {
    const bk_nn_kernels *k;
    const bk_gemm *g;
    const float *a, *b, *bias;
    float *c;
} gemm_job;

static void row_part(const void *arg, size_t i, int thread) {
    const gemm_job *j = arg;
    const bk_gemm *g = j->g;
    float *c = j->c + i * g->ldc;
    (void)thread;
    if (!g->add) memset(c, 0, g->n * sizeof *c);
    if (j->bias) j->k->add(c, j->bias, g->n);
    if (g->tb && !g->ta) {
        for (size_t n = 0; n < g->n; n++)
            c[n] += j->k->dot(j->a + i * g->lda, j->b + n * g->ldb, g->k);
        return;
    }
    for (size_t k = 0; k < g->k; k++) {
        float a = g->ta ? j->a[k * g->lda + i] : j->a[i * g->lda + k];
        if (!g->tb)
            j->k->axpy(a, j->b + k * g->ldb, g->n, c);
        else
            for (size_t n = 0; n < g->n; n++) c[n] += a * j->b[n * g->ldb + k];
    }
}

void bk_nn_cpu_gemm(bk_nn *nn, const bk_gemm *g) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    gemm_job j = {
        d->kernels,        g, bk_nn_floats(g->a), bk_nn_floats(g->b), bk_nn_floats(g->bias),
        bk_nn_floats(g->c)};
    bk_nn_cpu_each(d, g->m, g->m * g->n * g->k, row_part, &j);
}
