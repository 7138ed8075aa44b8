/* Rotary positions (Su et al. 2021, arXiv 2104.09864) and how models stretch them: linear
 * interpolation, Llama 3's factors per frequency (a tensor of the file), YaRN (Peng et al. 2023,
 * arXiv 2309.00071) and LongRoPE (Ding et al. 2024, arXiv 2402.13753: factors for short and for long
 * contexts). */
#include <math.h>
#include <stdio.h>

#include "model/arch.h"

bk_status bk_rope_read(const bk_gguf *g, const char *arch, bk_rope_config *r, bk_error *err) {
    char key[128];
    bk_str type = {0};
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    bk_status status = bk_gguf_str(g, key, &type, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    r->kind = BK_ROPE_PLAIN;
    if (status == BK_ERR_NOT_FOUND || bk_str_eq(type, BK_STR("none"))) return BK_OK;
    if (bk_str_eq(type, BK_STR("linear")))
        r->kind = BK_ROPE_LINEAR;
    else if (bk_str_eq(type, BK_STR("yarn")))
        r->kind = BK_ROPE_YARN;
    else if (bk_str_eq(type, BK_STR("longrope")))
        r->kind = BK_ROPE_LONG;
    else
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "key '%s': '" BK_STR_FMT
                       "' found; none, linear, yarn or longrope is supported",
                       key, BK_STR_ARG(type));
    if (r->factor == 0 && r->kind != BK_ROPE_LONG)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '%s.rope.scaling.factor' is missing, and the scaling is " BK_STR_FMT,
                       arch, BK_STR_ARG(type));
    return BK_OK;
}

/* ---- Frequencies --------------------------------------------------------------------------------- */

/* The index of the frequency that turns `turns` times within the original context. */
static double yarn_index(const bk_rope_config *r, double turns) {
    double period = r->original_context / (turns * 2 * 3.14159265358979323846);
    return r->dims * log(period) / (2 * log((double)r->base));
}

/* The share of interpolation of frequency i: 0 for fast ones, which keep their meaning, 1 for slow
 * ones, which never turned whole in training. */
static double yarn_share(const bk_rope_config *r, int i) {
    double low = fmax(0, floor(yarn_index(r, (double)r->beta_fast)));
    double high = fmin(r->dims - 1, ceil(yarn_index(r, (double)r->beta_slow)));
    return fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
}

static bk_status make_freqs(bk_model *m, double base, bool scaled, const float *factors,
                            const char *tensor, double **out, bk_error *err) {
    const bk_rope_config *r = &m->config.rope;
    *out = bk_arena_alloc(&m->arena, (size_t)r->dims / 2, sizeof **out);
    if (!*out) return bk_fail(err, BK_ERR_NOMEM, "no memory for rope frequencies");
    for (int i = 0; i < r->dims / 2; i++) {
        double f = pow(base, -2.0 * i / r->dims);
        if (factors && (!(factors[i] > 0) || !isfinite(factors[i])))
            return bk_fail(err, BK_ERR_FORMAT, "tensor '%s': factor %d is %g, above 0 wanted",
                           tensor, i, (double)factors[i]);
        if (factors) f /= (double)factors[i];
        if (scaled && r->kind == BK_ROPE_LINEAR) f /= (double)r->factor;
        if (scaled && r->kind == BK_ROPE_YARN) {
            double share = yarn_share(r, i);
            f = f / (double)r->factor * share + f * (1 - share);
        }
        (*out)[i] = f;
    }
    return BK_OK;
}

static bk_status make_group(bk_model *m, bool local, bk_rope *rope, bk_error *err) {
    const bk_rope_config *r = &m->config.rope;
    const bk_weights *w = &m->weights;
    /* Layers with a base of their own are not stretched: their window is short. */
    bool scaled = !local || r->base_local == 0;
    double base = (double)(scaled ? r->base : r->base_local);
    rope->scale = scaled ? (double)r->attn_factor : 1;
    if (scaled && r->kind == BK_ROPE_YARN && r->factor > 1)
        rope->scale *= 0.1 * log((double)r->factor) + 1;
    const float *factors = w->rope_short ? w->rope_short : w->rope_factors;
    const char *tensor = w->rope_short ? "rope_factors_short.weight" : "rope_freqs.weight";
    bk_status status = make_freqs(m, base, scaled, factors, tensor, &rope->freqs, err);
    rope->long_freqs = rope->freqs;
    if (status == BK_OK && w->rope_long)
        status = make_freqs(m, base, scaled, w->rope_long, "rope_factors_long.weight",
                            &rope->long_freqs, err);
    return status;
}

bk_status bk_rope_make(bk_model *m, bk_error *err) {
    bk_status status = BK_OK;
    for (int g = 0; status == BK_OK && g < m->n_groups; g++)
        status = make_group(m, m->group[g].window != 0, &m->rope[g], err);
    return status;
}

void bk_rope_angles(const bk_rope *r, int dims, size_t pos, bool long_context, float *angles) {
    const double *freqs = long_context ? r->long_freqs : r->freqs;
    for (int i = 0; i < dims / 2; i++) {
        double angle = (double)pos * freqs[i];
        angles[2 * i] = (float)(cos(angle) * r->scale);
        angles[2 * i + 1] = (float)(sin(angle) * r->scale);
    }
}
