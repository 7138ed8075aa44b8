#include "kernel/packed.h"

#include <string.h>

#include "kernel/sparse.h"
#include "quant/formats.h"

/* The first plan that a format fits; -1 fits any. */
static const struct {
    bk_plan plan;
    bk_layout layout;
    int sub, scales, zero, has_min;
} plans[] = {
    {BK_PLAN_F32, BK_LAYOUT_F32, 0, -1, -1, -1},
    {BK_PLAN_F16, BK_LAYOUT_F16, 0, -1, -1, -1},
    {BK_PLAN_BF16, BK_LAYOUT_BF16, 0, -1, -1, -1},
    {BK_PLAN_Q4_0, BK_LAYOUT_N4, 32, BK_SCALES_HALF, 8, false},
    {BK_PLAN_Q4_1, BK_LAYOUT_N4, 32, BK_SCALES_HALF, 0, true},
    {BK_PLAN_Q5_0, BK_LAYOUT_N5, 32, BK_SCALES_HALF, 16, false},
    {BK_PLAN_Q8_0, BK_LAYOUT_B8, 32, BK_SCALES_HALF, 128, false},
    {BK_PLAN_Q4_K, BK_LAYOUT_N4, 32, BK_SCALES_SUPER, 0, true},
    {BK_PLAN_Q6_K, BK_LAYOUT_N6, 16, BK_SCALES_SUPER, 32, false},
    {BK_PLAN_N4_16, BK_LAYOUT_N4, 16, -1, -1, -1},
    {BK_PLAN_N5_32, BK_LAYOUT_N5, 32, -1, -1, -1},
    {BK_PLAN_C4_32, BK_LAYOUT_C4, 32, -1, 128, -1},
    {BK_PLAN_C4_16, BK_LAYOUT_C4, 16, -1, 128, -1},
    {BK_PLAN_B8_16, BK_LAYOUT_B8, 16, -1, 128, -1},
    {BK_PLAN_B8_32, BK_LAYOUT_B8, 32, -1, 128, -1},
};

static bool fits(int wanted, int found) { return wanted < 0 || wanted == found; }

static bool find_plan(const bk_quant *t, bk_plan *plan) {
    for (size_t i = 0; i < BK_ARRAY_LEN(plans); i++) {
        if (plans[i].layout != t->layout || plans[i].sub != t->sub) continue;
        if (!fits(plans[i].scales, (int)t->scales) || !fits(plans[i].zero, t->zero)) continue;
        if (!fits(plans[i].has_min, t->has_min)) continue;
        *plan = plans[i].plan;
        return true;
    }
    return false;
}

/* Bytes of the scale arrays of a group, before rounding up to a line. */
static size_t scale_bytes(const bk_quant *t, size_t k) {
    size_t arrays = t->has_min ? 2 : 1, n = t->sub ? k / (size_t)t->sub : 0;
    switch (t->scales) {
    case BK_SCALES_HALF: return arrays * n * 32;
    case BK_SCALES_SUPER: return arrays * (k / 256 * 32 + n * 16);
    default: return arrays * n * 64;
    }
}

/* Lines per 32 k (integer formats). */
static size_t lines_per_block(bk_layout layout) {
    switch (layout) {
    case BK_LAYOUT_N4:
    case BK_LAYOUT_C4: return 4;
    case BK_LAYOUT_N5: return 5;
    case BK_LAYOUT_N6: return 6;
    default: return 8;
    }
}

bool bk_packed_init(bk_packed *p, const bk_quant *type, size_t n_rows, size_t k) {
    size_t total;
    if (n_rows == 0 || k == 0 || k % type->block_len != 0) return false;
    if (k > SIZE_MAX / 1024) return false;
    *p = (bk_packed){.type = type, .n_rows = n_rows, .k = k};
    if (!find_plan(type, &p->plan)) return false;
    p->n_groups = bk_div_up(n_rows, BK_GROUP_ROWS);
    p->scale_bytes = bk_round_up(scale_bytes(type, k), BK_LINE);
    size_t body = type->bits ? k / 32 * lines_per_block(type->layout) * BK_LINE
                             : bk_round_up(k * BK_GROUP_ROWS * type->block_bytes, BK_LINE);
    p->group_bytes = p->scale_bytes + body;
    return bk_mul_size(p->n_groups, p->group_bytes, &total);
}

/* ---- Scales ---------------------------------------------------------------------------------- */

static void pack_floats(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *scales) {
    const bk_quant *t = p->type;
    size_t step = (size_t)t->sub / 16, n = p->k / (size_t)t->sub;
    float *d = (float *)(void *)scales + r, *m = d;
    if (t->has_min) d += n * BK_GROUP_ROWS;
    bk_canon c;
    for (size_t i = 0; i < p->k / 16; i += step) {
        if (i % 2 == 0) t->unpack(row, i / 2, &c);
        d[i / step * BK_GROUP_ROWS] = c.d[i % 2];
        if (t->has_min) m[i / step * BK_GROUP_ROWS] = c.m[i % 2];
    }
}

/* A half of each block, from `at` on. */
static void pack_halves(const bk_packed *p, const uint8_t *row, size_t at, size_t r,
                        uint8_t *array) {
    size_t n = p->k / p->type->block_len, stride = p->type->block_bytes;
    for (size_t i = 0; i < n; i++)
        memcpy(array + (i * BK_GROUP_ROWS + r) * 2, row + i * stride + at, 2);
}

static void pack_super(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *scales) {
    const bk_quant *t = p->type;
    size_t per = 256 / (size_t)t->sub, n = p->k / (size_t)t->sub;
    uint8_t *mins = scales, *bytes = t->has_min ? mins + n * BK_GROUP_ROWS : mins;
    for (size_t i = 0; i < n; i++) {
        int8_t scale;
        uint8_t min = 0;
        t->scale(row + i / per * t->block_bytes, i % per, &scale, &min);
        bytes[i * BK_GROUP_ROWS + r] = (uint8_t)scale;
        if (t->has_min) mins[i * BK_GROUP_ROWS + r] = min;
    }
}

static void pack_scales(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *group) {
    const bk_quant *t = p->type;
    if (t->scales == BK_SCALES_FLOAT) {
        pack_floats(p, row, r, group);
        return;
    }
    size_t bytes = p->k / t->block_len * BK_GROUP_ROWS * 2; /* of an array of halves */
    if (t->has_min) {
        pack_halves(p, row, t->m_at, r, group);
        group += bytes;
    }
    pack_halves(p, row, t->d_at, r, group);
    if (t->scales == BK_SCALES_SUPER) pack_super(p, row, r, group + bytes);
}

/* ---- Lines ------------------------------------------------------------------------------------ */

/* 32 canonical bytes as what they are in the lines, 4 bytes a line. */
static void make_words(bk_layout layout, const uint8_t q[32], uint32_t out[8]) {
    const uint32_t nibbles = 0x0F0F0F0F, ones = 0x01010101, pairs = 0x03030303;
    uint32_t v[8];
    memcpy(v, q, sizeof v);
    if (layout == BK_LAYOUT_B8) {
        memcpy(out, v, sizeof v);
        return;
    }
    for (size_t j = 0; j < 4; j++) out[j] = (v[j] & nibbles) | (v[j + 4] & nibbles) << 4;
    out[4] = out[5] = 0;
    for (size_t j = 0; j < 8 && layout == BK_LAYOUT_N5; j++) out[4] |= (v[j] >> 4 & ones) << j;
    for (size_t j = 0; j < 8 && layout == BK_LAYOUT_N6; j++)
        out[4 + j / 4] |= (v[j] >> 4 & pairs) << j % 4 * 2;
}

/* From a canonical byte to its place in the codebook. */
static void find_places(const int8_t *codebook, uint8_t place[256]) {
    memset(place, 0, 256);
    for (size_t i = 16; i-- > 0;) place[codebook[i] + 128] = (uint8_t)i;
}

/* The rows of a group, as the file has them. */
typedef struct group_rows {
    const uint8_t *at;
    size_t n, stride;
} group_rows;

static void pack_unpacked(const bk_packed *p, const group_rows *rows, uint8_t *lines) {
    const bk_quant *t = p->type;
    uint8_t place[256];
    if (t->layout == BK_LAYOUT_C4) find_places(t->codebook, place);
    size_t n = lines_per_block(t->layout);
    for (size_t b = 0; b < p->k / 32; b++) {
        for (size_t r = 0; r < rows->n; r++) {
            bk_canon c;
            uint32_t words[8];
            t->unpack(rows->at + r * rows->stride, b, &c);
            for (size_t i = 0; t->layout == BK_LAYOUT_C4 && i < 32; i++) c.q[i] = place[c.q[i]];
            make_words(t->layout, c.q, words);
            for (size_t j = 0; j < n; j++)
                memcpy(lines + (b * n + j) * BK_LINE + r * 4, &words[j], 4);
        }
    }
}

/* Formats that give words. Lines of a block are written whole before the next: that they are in the
 * first-level cache is what packing at the speed of memory takes, and loading time is won here. */
static void pack_words(const bk_packed *p, const group_rows *rows, uint8_t *lines) {
    const bk_quant *t = p->type;
    size_t n = lines_per_block(t->layout);
    for (size_t b = 0; b < p->k / 32; b++, lines += n * BK_LINE) {
        for (size_t r = 0; r < rows->n; r++) {
            uint32_t words[8];
            t->words(rows->at + r * rows->stride, b, words);
            for (size_t j = 0; j < n; j++) memcpy(lines + j * BK_LINE + r * 4, &words[j], 4);
        }
    }
}

/* Formats whose quants lie in the file as the lines want them: dword j of the row's block goes to line
 * j. */
static inline void pack_dwords(const bk_packed *p, const group_rows *rows, size_t n, uint32_t flip,
                               uint8_t *lines) {
    const bk_quant *t = p->type;
    size_t per = t->block_len / 32;
    for (size_t b = 0; b < p->k / 32; b++, lines += n * BK_LINE) {
        const uint8_t *src = rows->at + b / per * t->block_bytes + t->lines_at + b % per * n * 4;
        for (size_t r = 0; r < rows->n; r++, src += rows->stride) {
            for (size_t j = 0; j < n; j++) {
                uint32_t v;
                memcpy(&v, src + 4 * j, 4);
                v ^= flip;
                memcpy(lines + j * BK_LINE + r * 4, &v, 4);
            }
        }
    }
}

/* Numbers of 1 << shift bytes, some of each row at a time so that they stay in the first-level cache. */
static inline void pack_numbers(const bk_packed *p, const group_rows *rows, int shift,
                                uint8_t *group) {
    enum { SOME = 64 };
    size_t size = (size_t)1 << shift, step = BK_GROUP_ROWS << shift;
    for (size_t k = 0; k < p->k; k += SOME) {
        size_t n = bk_min_size(SOME, p->k - k);
        for (size_t r = 0; r < rows->n; r++) {
            const uint8_t *src = rows->at + r * rows->stride + (k << shift);
            uint8_t *dst = group + ((k * BK_GROUP_ROWS + r) << shift);
            for (size_t i = 0; i < n; i++) memcpy(dst + i * step, src + (i << shift), size);
        }
    }
}

static void pack_group(const bk_packed *p, const group_rows *rows, uint8_t *group) {
    const bk_quant *t = p->type;
    uint8_t *lines = group + p->scale_bytes;
    if (!t->bits && t->block_bytes == 2) {
        pack_numbers(p, rows, 1, group);
        return;
    }
    if (!t->bits) {
        pack_numbers(p, rows, 2, group);
        return;
    }
    for (size_t r = 0; r < rows->n; r++) pack_scales(p, rows->at + r * rows->stride, r, group);
    if (t->lines_at && t->layout == BK_LAYOUT_B8) {
        pack_dwords(p, rows, 8, 0x80808080u, lines);
    } else if (t->lines_at) {
        pack_dwords(p, rows, 4, 0, lines);
    } else if (t->words) {
        pack_words(p, rows, lines);
    } else {
        pack_unpacked(p, rows, lines);
    }
}

void bk_pack_groups(const bk_packed *p, const uint8_t *rows, size_t first, size_t n) {
    size_t row_bytes = p->k / p->type->block_len * p->type->block_bytes;
    for (size_t g = first; g < first + n; g++) {
        uint8_t *group = p->data + g * p->group_bytes;
        size_t row = g * BK_GROUP_ROWS, n_rows = bk_min_size(BK_GROUP_ROWS, p->n_rows - row);
        if (n_rows < BK_GROUP_ROWS) memset(group, 0, p->group_bytes); /* rows that do not exist */
        group_rows source = {rows + row * row_bytes, n_rows, row_bytes};
        pack_group(p, &source, group);
    }
}

/* ---- Reading back ------------------------------------------------------------------------------ */

static float get16(const uint8_t *array, size_t i, size_t row) {
    uint16_t v;
    memcpy(&v, array + (i * BK_GROUP_ROWS + row) * 2, 2);
    return bk_f16_to_f32(v);
}

static uint8_t get_q(bk_layout layout, const uint8_t *lines, size_t row, size_t k) {
    size_t byte = row * 4 + k % 4, j = k / 4;
    if (layout == BK_LAYOUT_B8) return lines[j * BK_LINE + byte];
    unsigned low = lines[j % 4 * BK_LINE + byte] >> (j < 4 ? 0 : 4) & 15;
    const uint8_t *bits = lines + 4 * BK_LINE + byte;
    if (layout == BK_LAYOUT_N5) low |= (bits[0] >> j & 1u) << 4;
    if (layout == BK_LAYOUT_N6) low |= (bits[j / 4 * BK_LINE] >> j % 4 * 2 & 3u) << 4;
    return (uint8_t)low;
}

static float get_float(const uint8_t *array, size_t i, size_t row) {
    float f;
    memcpy(&f, array + (i * BK_GROUP_ROWS + row) * 4, 4);
    return f;
}

/* d and m of scale i (of 16 or 32 weights). */
static void get_scale(const bk_packed *p, const uint8_t *g, size_t row, size_t i, float *d,
                      float *m) {
    const bk_quant *t = p->type;
    size_t n = p->k / (size_t)t->sub, ns = p->k / 256, super = i * (size_t)t->sub / 256;
    bool min = t->has_min;
    *m = 0;
    switch (t->scales) {
    case BK_SCALES_HALF:
        if (min) *m = get16(g, i, row);
        *d = get16(g + min * n * 32, i, row);
        break;
    case BK_SCALES_SUPER: {
        const uint8_t *mins = g + (1 + min) * ns * 32, *scales = mins + min * n * 16;
        if (min) *m = -(get16(g, super, row) * (float)mins[i * 16 + row]);
        *d = get16(g + min * ns * 32, super, row) * (float)(int8_t)scales[i * 16 + row];
        break;
    }
    default:
        if (min) *m = get_float(g, i, row);
        *d = get_float(g + min * n * 64, i, row);
    }
}

void bk_packed_block(const bk_packed *p, size_t r, size_t b, bk_canon *out) {
    if (bk_packed_sparse(p)) {
        bk_sparse_block(p, r, b, out);
        return;
    }
    const uint8_t *group = p->data + r / BK_GROUP_ROWS * p->group_bytes;
    const uint8_t *lines = group + p->scale_bytes;
    const bk_quant *t = p->type;
    size_t row = r % BK_GROUP_ROWS, n = 32 / (size_t)t->sub;
    lines += b * lines_per_block(t->layout) * BK_LINE;
    for (size_t i = 0; i < 32; i++) {
        uint8_t q = get_q(t->layout, lines, row, i);
        out->q[i] = t->layout == BK_LAYOUT_C4 ? (uint8_t)(t->codebook[q] + 128) : q;
    }
    for (size_t h = 0; h < 2; h++)
        get_scale(p, group, row, b * n + h * (n - 1), &out->d[h], &out->m[h]);
}

float bk_packed_float(const bk_packed *p, size_t r, size_t k) {
    size_t i = k * BK_GROUP_ROWS + r % BK_GROUP_ROWS;
    const uint8_t *group = p->data + r / BK_GROUP_ROWS * p->group_bytes;
    uint16_t h;
    float f;
    if (p->type->type == BK_TYPE_F32) {
        memcpy(&f, group + 4 * i, 4);
        return f;
    }
    memcpy(&h, group + 2 * i, 2);
    return p->type->type == BK_TYPE_F16 ? bk_f16_to_f32(h) : bk_bf16_to_f32(h);
}

void bk_packed_row(const bk_packed *p, size_t r, float *out) {
    if (!p->type->bits) {
        for (size_t k = 0; k < p->k; k++) out[k] = bk_packed_float(p, r, k);
        return;
    }
    for (size_t b = 0; b < p->k / 32; b++) {
        bk_canon c;
        bk_packed_block(p, r, b, &c);
        for (size_t i = 0; i < 32; i++) {
            out[32 * b + i] = c.d[i / 16] * (float)((int)c.q[i] - p->type->zero) + c.m[i / 16];
        }
    }
}
