/* Causal attention, forward and backward: a part is one head of one sequence. */
#include <math.h>
#include <string.h>

#include "device/nn_cpu.h"

typedef struct attn_job {
    const bk_nn_kernels *k;
    const bk_nn_attention *a;
    size_t head, group; /* floats of a head; query heads of a key head */
    float scale;
    float *p; /* [threads][T] */
} attn_job;

static void forward_part(const void *arg, size_t part, int thread) {
    const attn_job *j = arg;
    const bk_nn_attention *a = j->a;
    size_t T = a->T, D = j->head, H = (size_t)a->n_heads, b = part / H, h = part % H;
    const float *q = bk_nn_floats(a->q) + b * T * a->ldq + h * D;
    const float *k = bk_nn_floats(a->k) + b * T * a->ldkv + h / j->group * D;
    const float *v = bk_nn_floats(a->v) + b * T * a->ldkv + h / j->group * D;
    float *y = bk_nn_floats(a->y) + (b * T * H + h) * D, *lse = bk_nn_floats(a->lse) + part * T;
    float *p = j->p + (size_t)thread * T;
    for (size_t t = 0; t < T; t++, q += a->ldq, y += H * D) {
        for (size_t s = 0; s <= t; s++) p[s] = j->k->dot(q, k + s * a->ldkv, D) * j->scale;
        lse[t] = (float)j->k->log_sum(p, t + 1);
        j->k->exp_scaled(p, t + 1, lse[t], 1, p);
        memset(y, 0, D * sizeof *y);
        for (size_t s = 0; s <= t; s++) j->k->axpy(p[s], v + s * a->ldkv, D, y);
    }
}

/* With p the weights and dp = dy v: ds = p (dp - dy y); dq = ds k, dk = ds^T q, dv = p^T dy. */
static void backward_head(const attn_job *j, size_t b, size_t h, float *p) {
    const bk_nn_attention *a = j->a;
    size_t T = a->T, D = j->head, H = (size_t)a->n_heads;
    size_t at = b * T * a->ldkv + h / j->group * D;
    const float *k = bk_nn_floats(a->k) + at, *v = bk_nn_floats(a->v) + at;
    const float *lse = bk_nn_floats(a->lse) + (b * H + h) * T;
    float *dk = bk_nn_floats(a->dk) + at, *dv = bk_nn_floats(a->dv) + at;
    for (size_t t = 0; t < T; t++) {
        size_t q_at = (b * T + t) * a->ldq + h * D, y_at = ((b * T + t) * H + h) * D;
        const float *q = bk_nn_floats(a->q) + q_at, *dy = bk_nn_floats(a->dy) + y_at;
        float *dq = bk_nn_floats(a->dq) + q_at;
        float delta = j->k->dot(dy, bk_nn_floats(a->y) + y_at, D);
        memset(dq, 0, D * sizeof *dq);
        for (size_t s = 0; s <= t; s++) p[s] = j->k->dot(q, k + s * a->ldkv, D) * j->scale;
        j->k->exp_scaled(p, t + 1, lse[t], 1, p);
        for (size_t s = 0; s <= t; s++) {
            float dp = j->k->dot(dy, v + s * a->ldkv, D);
            float ds = p[s] * (dp - delta) * j->scale;
            j->k->axpy(p[s], dy, D, dv + s * a->ldkv);
            j->k->axpy(ds, q, D, dk + s * a->ldkv);
            j->k->axpy(ds, k + s * a->ldkv, D, dq);
        }
    }
}

static void backward_part(const void *arg, size_t part, int thread) {
    const attn_job *j = arg;
    const bk_nn_attention *a = j->a;
    size_t KV = (size_t)a->n_kv_heads, b = part / KV, kv = part % KV;
    for (size_t t = 0; t < a->T; t++) {
        size_t at = (b * a->T + t) * a->ldkv + kv * j->head;
        memset(bk_nn_floats(a->dk) + at, 0, j->head * sizeof(float));
        memset(bk_nn_floats(a->dv) + at, 0, j->head * sizeof(float));
    }
    for (size_t i = 0; i < j->group; i++)
        backward_head(j, b, kv * j->group + i, j->p + (size_t)thread * a->T);
}

static void run(bk_nn *nn, const bk_nn_attention *a, int heads, bk_nn_part fn) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    attn_job j = {.k = d->kernels, .a = a, .head = (size_t)a->head_size};
    j.group = (size_t)(a->n_heads / a->n_kv_heads);
    j.scale = (float)(1 / sqrt((double)a->head_size));
    j.p = bk_nn_cpu_scratch(d, a->T * (size_t)nn->threads * sizeof *j.p);
    size_t parts = a->B * (size_t)heads;
    if (j.p) bk_nn_cpu_each(d, parts, parts * a->T * a->T * j.head, fn, &j);
}

void bk_nn_cpu_attention(bk_nn *nn, const bk_nn_attention *a) {
    run(nn, a, a->n_heads, forward_part);
}

void bk_nn_cpu_attention_bwd(bk_nn *nn, const bk_nn_attention *a) {
    run(nn, a, a->n_kv_heads, backward_part);
}
