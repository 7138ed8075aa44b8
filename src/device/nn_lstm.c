/* One LSTM layer, step after step: a small matrix product and the gates of the step. */
#include <math.h>
#include <string.h>

#include "device/nn_cpu.h"

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

typedef struct step_job {
    size_t H;
    float *gates;          /* [B][4H] of the step */
    float *h, *c;          /* [B][H] after it */
    const float *c_before; /* [B][H] */
    const float *dh;       /* [B][H] of the step */
    float *dc;             /* [B][H] of the state after the step, replaced by that before */
} step_job;

static void forward_part(const void *arg, size_t b, int thread) {
    const step_job *j = arg;
    size_t H = j->H, at = b * H;
    float *gi = j->gates + 4 * at, *gf = gi + H, *gg = gf + H, *go = gg + H;
    (void)thread;
    for (size_t n = 0; n < H; n++) {
        gi[n] = sigmoid(gi[n]), gf[n] = sigmoid(gf[n]);
        gg[n] = tanhf(gg[n]), go[n] = sigmoid(go[n]);
        j->c[at + n] = gf[n] * j->c_before[at + n] + gi[n] * gg[n];
        j->h[at + n] = go[n] * tanhf(j->c[at + n]);
    }
}

static void backward_part(const void *arg, size_t b, int thread) {
    const step_job *j = arg;
    size_t H = j->H, at = b * H;
    float *gi = j->gates + 4 * at, *gf = gi + H, *gg = gf + H, *go = gg + H;
    (void)thread;
    for (size_t n = 0; n < H; n++) {
        float i = gi[n], f = gf[n], g = gg[n], o = go[n], dh = j->dh[at + n];
        float t = tanhf(j->c[at + n]), dc = j->dc[at + n] + dh * o * (1 - t * t);
        gi[n] = dc * g * i * (1 - i);
        gf[n] = dc * j->c_before[at + n] * f * (1 - f);
        gg[n] = dc * i * (1 - g * g);
        go[n] = dh * t * o * (1 - o);
        j->dc[at + n] = dc * f;
    }
}

void bk_nn_cpu_lstm(bk_nn *nn, const bk_nn_lstm *l) {
    size_t H = l->H, BH = l->B * H;
    for (size_t t = 0; t < l->T; t++) {
        bk_vec gates = bk_vec_at(l->gates, t * 4 * BH), h = bk_vec_at(l->h, t * BH);
        bk_nn_cpu_gemm(nn, &(bk_gemm){.m = l->B,
                                      .n = 4 * H,
                                      .k = H,
                                      .a = h,
                                      .lda = H,
                                      .b = l->w_hh,
                                      .ldb = H,
                                      .tb = true,
                                      .c = gates,
                                      .ldc = 4 * H,
                                      .add = true});
        step_job j = {.H = H, .gates = bk_nn_floats(gates), .h = bk_nn_floats(h) + BH};
        j.c_before = bk_nn_floats(l->c) + t * BH;
        j.c = bk_nn_floats(l->c) + (t + 1) * BH;
        bk_nn_cpu_each((bk_nn_cpu *)nn, l->B, 64 * BH, forward_part, &j);
    }
}

void bk_nn_cpu_lstm_bwd(bk_nn *nn, const bk_nn_lstm *l) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    size_t H = l->H, BH = l->B * H;
    float *dstate = bk_nn_floats(l->dstate), *dc = bk_nn_cpu_scratch(d, BH * sizeof *dc);
    if (!dc) return;
    if (dstate) {
        memcpy(dc, dstate + BH, BH * sizeof *dc);
        if (l->T) d->kernels->add(bk_nn_floats(l->dh) + (l->T - 1) * BH, dstate, BH);
    } else {
        memset(dc, 0, BH * sizeof *dc);
    }
    for (size_t t = l->T; t-- > 0;) {
        bk_vec gates = bk_vec_at(l->gates, t * 4 * BH);
        step_job j = {.H = H, .gates = bk_nn_floats(gates), .dc = dc};
        j.c_before = bk_nn_floats(l->c) + t * BH;
        j.c = bk_nn_floats(l->c) + (t + 1) * BH;
        j.dh = bk_nn_floats(l->dh) + t * BH;
        bk_nn_cpu_each(d, l->B, 64 * BH, backward_part, &j);
        if (t == 0 && !dstate) return;
        bk_vec before = t ? bk_vec_at(l->dh, (t - 1) * BH) : l->dstate;
        bk_nn_cpu_gemm(nn, &(bk_gemm){.m = l->B,
                                      .n = H,
                                      .k = 4 * H,
                                      .a = gates,
                                      .lda = 4 * H,
                                      .b = l->w_hh,
                                      .ldb = H,
                                      .c = before,
                                      .ldc = H,
                                      .add = t > 0});
    }
    if (dstate) memcpy(dstate + BH, dc, BH * sizeof *dc);
}
