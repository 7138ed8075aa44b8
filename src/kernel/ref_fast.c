/* The fast product in portable C: its definition (kernel.h). */
#include <math.h>
#include <string.h>

#include "kernel/parts.h"

/* A stretch of a row, in canonical form. */
typedef struct stretch {
    bk_canon block[BK_FAST_BLOCKS];
    size_t blocks, parts; /* parts of a block */
} stretch;

static stretch read_stretch(const bk_packed *w, size_t r, size_t t) {
    size_t first = t * BK_FAST_BLOCKS;
    stretch s = {.parts = 32 / (size_t)w->type->sub};
    s.blocks = bk_min_size(BK_FAST_BLOCKS, w->k / 32 - first);
    for (size_t b = 0; b < s.blocks; b++) bk_packed_block(w, r, first + b, &s.block[b]);
    return s;
}

static float largest(const bk_quant *type, const stretch *s) {
    float low, high, max = 0;
    bk_fast_range(type, &low, &high);
    for (size_t b = 0; b < s->blocks; b++) {
        for (size_t p = 0; p < s->parts; p++) {
            float v = fabsf(fmaf(s->block[b].d[p], low, s->block[b].m[p]));
            if (v > max) max = v;
            v = fabsf(fmaf(s->block[b].d[p], high, s->block[b].m[p]));
            if (v > max) max = v;
        }
    }
    return max;
}

static int32_t factor(float x) {
    if (x != x) return 0;
    return (int32_t)rintf(x > BK_FAST_LIMIT    ? BK_FAST_LIMIT
                          : x < -BK_FAST_LIMIT ? -BK_FAST_LIMIT
                                               : x);
}

/* One row's stretch t into a group's lines and scales. */
static void put_stretch(const bk_packed *w, size_t r, size_t t, uint8_t *q, float *d) {
    stretch s = read_stretch(w, r, t);
    size_t row = r % BK_GROUP_ROWS;
    float max = largest(w->type, &s), unit = max >= BK_FAST_MIN ? BK_FAST_UNIT / max : 0;
    d[t * BK_GROUP_ROWS + row] = max / BK_FAST_UNIT;
    for (size_t i = 0; i < s.blocks * 32; i++) {
        const bk_canon *c = &s.block[i / 32];
        size_t p = s.parts == 2 ? i % 32 / 16 : 0, k = t * BK_FAST_BLOCKS * 32 + i;
        int32_t f = factor(c->d[p] * unit * 256);
        int32_t start = factor(c->m[p] * unit * 256) - w->type->zero * f + 32896;
        q[k / 4 * BK_LINE + row * 4 + k % 4] =
            (uint8_t)((((uint32_t)c->q[i % 32] * (uint32_t)f + (uint32_t)start) & 0xFFFF) >> 8);
    }
}

static void expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    size_t nb = w->k / 32, nd = w->k / (size_t)w->type->sub;
    for (size_t g = 0; g < n; g++)
        for (size_t r = 0; r < BK_GROUP_ROWS; r++)
            for (size_t t = 0; t < bk_fast_stretches(nb); t++)
                put_stretch(w, (first + g) * BK_GROUP_ROWS + r, t, panel->q + g * w->k * 16,
                            panel->d + g * nd * 16);
}

/* q and d: of one row of a group. */
static float byte_at(const uint8_t *q, size_t k) {
    return (float)((int)q[k / 4 * BK_LINE + k % 4] - BK_ACT_ZERO);
}

static float dot_row(const uint8_t *q, const float *d, size_t k, const bk_fast_act *x) {
    const size_t step = BK_FAST_BLOCKS * 32;
    float acc = 0;
    for (size_t t = 0; t * step < k; t++) {
        int32_t sum = 0;
        for (size_t i = t * step; i < bk_min_size(k, (t + 1) * step); i++)
            sum += ((int)q[i / 4 * BK_LINE + i % 4] - BK_ACT_ZERO) * x->q[i];
        acc = fmaf((float)sum * x->s[t], d[t * BK_GROUP_ROWS], acc);
    }
    for (int e = 0; e < BK_FAST_EXACT; e++) {
        size_t at = (size_t)x->at[e];
        acc = fmaf(x->value[e], d[at / step * BK_GROUP_ROWS] * byte_at(q, at), acc);
    }
    return acc;
}

static void tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    size_t nd = w->k / (size_t)w->type->sub, begin = first * BK_GROUP_ROWS;
    size_t end = bk_min_size(begin + n * BK_GROUP_ROWS, w->n_rows);
    for (size_t c = 0; c < cols; c++) {
        /* The view only reads here. */
        bk_fast_act x = bk_fast_act_view((char *)(uintptr_t)acts + c * pitch, w->k);
        for (size_t r = begin; r < end; r++) {
            size_t g = r / BK_GROUP_ROWS - first, row = r % BK_GROUP_ROWS;
            float y =
                dot_row(panel->q + g * w->k * 16 + row * 4, panel->d + g * nd * 16 + row, w->k, &x);
            float *o = out + c * ldo + r;
            *o = add ? *o + y : y;
        }
    }
}

void bk_fast_init_ref(bk_kernels *k) {
    k->fast_expand = expand;
    k->fast_tiles = tiles;
}
