#include "kernel/packed.h"

#include <string.h>

#include "quant/formats.h"

/* Bytes of the scale arrays of a group, before rounding up to a line. */
static size_t scale_bytes(const bk_quant *t, size_t nb, size_t ns) {
    switch (t->type) {
    case BK_TYPE_Q4_0:
    case BK_TYPE_Q5_0:
    case BK_TYPE_Q8_0: return nb * 32;
    case BK_TYPE_Q4_1: return nb * 64;
    case BK_TYPE_Q4_K: return ns * 64 + nb * 32;
    case BK_TYPE_Q6_K: return ns * 32 + nb * 32;
    default: return 0;
    }
}

/* Lines per 32 k (integer formats). */
static size_t lines_per_block(bk_layout layout) {
    switch (layout) {
    case BK_LAYOUT_N4: return 4;
    case BK_LAYOUT_N5: return 5;
    case BK_LAYOUT_N6: return 6;
    default: return 8;
    }
}

bool bk_packed_init(bk_packed *p, const bk_quant *type, size_t n_rows, size_t k) {
    size_t total;
    if (n_rows == 0 || k == 0 || k % type->block_len != 0) return false;
    if (k > SIZE_MAX / 1024) return false;
    size_t nb = k / 32, ns = k / 256;
    *p = (bk_packed){.type = type, .n_rows = n_rows, .k = k};
    p->n_groups = bk_div_up(n_rows, BK_GROUP_ROWS);
    p->scale_bytes = bk_round_up(scale_bytes(type, nb, ns), BK_LINE);
    size_t body = type->bits ? nb * lines_per_block(type->layout) * BK_LINE
                             : bk_round_up(k * BK_GROUP_ROWS * type->block_bytes, BK_LINE);
    p->group_bytes = p->scale_bytes + body;
    return bk_mul_size(p->n_groups, p->group_bytes, &total);
}

/* ---- Scales ---------------------------------------------------------------------------------- */

static void put16(uint8_t *array, size_t i, size_t row, uint16_t v) {
    memcpy(array + (i * BK_GROUP_ROWS + row) * 2, &v, 2);
}

static void pack_scales_k(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *scales) {
    size_t nb = p->k / 32, ns = p->k / 256;
    bool q4 = p->type->type == BK_TYPE_Q4_K;
    uint8_t *dmin = scales, *d = q4 ? dmin + ns * 32 : scales;
    uint8_t *mn = d + ns * 32, *sc = q4 ? mn + nb * 16 : mn;
    for (size_t i = 0; i < ns; i++) {
        const uint8_t *b = row + i * p->type->block_bytes;
        if (!q4) { /* Q6_K: ql[128], qh[64], scales[16], d */
            put16(d, i, r, bk_load_le16(b + 208));
            for (size_t j = 0; j < 16; j++) sc[(i * 16 + j) * 16 + r] = b[192 + j];
            continue;
        }
        put16(dmin, i, r, bk_load_le16(b + 2));
        put16(d, i, r, bk_load_le16(b));
        for (size_t j = 0; j < 8; j++) {
            unsigned scale, min;
            bk_q4_k_scale(b + 4, j, &scale, &min);
            sc[(i * 8 + j) * 16 + r] = (uint8_t)scale;
            mn[(i * 8 + j) * 16 + r] = (uint8_t)min;
        }
    }
}

static void pack_scales(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *scales) {
    size_t nb = p->k / 32, stride = p->type->block_bytes;
    uint16_t v;
    switch (p->type->type) {
    case BK_TYPE_Q4_1: /* block: d, m, quants */
        for (size_t b = 0; b < nb; b++) {
            memcpy(&v, row + b * stride + 2, 2);
            put16(scales, b, r, v);
            memcpy(&v, row + b * stride, 2);
            put16(scales + nb * 32, b, r, v);
        }
        break;
    case BK_TYPE_Q4_K:
    case BK_TYPE_Q6_K: pack_scales_k(p, row, r, scales); break;
    default: /* block: d, quants */
        for (size_t b = 0; b < nb; b++) {
            memcpy(&v, row + b * stride, 2);
            put16(scales, b, r, v);
        }
    }
}

/* ---- Lines ------------------------------------------------------------------------------------ */

/* One row's 32 bytes into the lines of its block. */
static void put_lines(bk_layout layout, const uint8_t q[32], size_t row, uint8_t *lines) {
    uint8_t *at = lines + row * 4;
    if (layout == BK_LAYOUT_B8) {
        for (size_t j = 0; j < 8; j++) memcpy(at + j * BK_LINE, q + 4 * j, 4);
        return;
    }
    for (size_t j = 0; j < 4; j++)
        for (size_t i = 0; i < 4; i++)
            at[j * BK_LINE + i] = (uint8_t)((q[4 * j + i] & 15) | (q[16 + 4 * j + i] & 15) << 4);
    at += 4 * BK_LINE;
    for (size_t j = 0; j < 8; j++) {
        for (size_t i = 0; i < 4; i++) {
            unsigned high = q[4 * j + i] >> 4;
            if (layout == BK_LAYOUT_N5) at[i] |= (uint8_t)(high << j);
            if (layout == BK_LAYOUT_N6) at[j / 4 * BK_LINE + i] |= (uint8_t)(high << j % 4 * 2);
        }
    }
}

/* Formats whose quants lie in the file as the lines want them: dword j of the row's block goes to
 * line j. Most of the bytes of real models, so loading time is won here. */
static void pack_dwords(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *lines) {
    bk_type type = p->type->type;
    size_t n = type == BK_TYPE_Q8_0 ? 8 : 4, skip = type == BK_TYPE_Q4_1 ? 4 : 2;
    uint32_t flip = type == BK_TYPE_Q8_0 ? 0x80808080u : 0;
    for (size_t b = 0; b < p->k / 32; b++) {
        const uint8_t *src = row + b * p->type->block_bytes + skip;
        uint8_t *dst = lines + b * n * BK_LINE + r * 4;
        for (size_t j = 0; j < n; j++) {
            uint32_t v;
            memcpy(&v, src + 4 * j, 4);
            v ^= flip;
            memcpy(dst + j * BK_LINE, &v, 4);
        }
    }
}

static void pack_row(const bk_packed *p, const uint8_t *row, size_t r, uint8_t *group) {
    const bk_quant *t = p->type;
    uint8_t *lines = group + p->scale_bytes;
    if (!t->bits) {
        size_t size = t->block_bytes;
        for (size_t k = 0; k < p->k; k++)
            memcpy(group + (k * BK_GROUP_ROWS + r) * size, row + k * size, size);
        return;
    }
    pack_scales(p, row, r, group);
    if (t->type == BK_TYPE_Q4_0 || t->type == BK_TYPE_Q4_1 || t->type == BK_TYPE_Q8_0) {
        pack_dwords(p, row, r, lines);
        return;
    }
    size_t step = lines_per_block(t->layout) * BK_LINE;
    for (size_t b = 0; b < p->k / 32; b++) {
        bk_canon c;
        t->unpack(row, b, &c);
        put_lines(t->layout, c.q, r, lines + b * step);
    }
}

void bk_pack_groups(const bk_packed *p, const uint8_t *rows, size_t first, size_t n) {
    size_t row_bytes = p->k / p->type->block_len * p->type->block_bytes;
    for (size_t g = first; g < first + n; g++) {
        uint8_t *group = p->data + g * p->group_bytes;
        size_t row = g * BK_GROUP_ROWS, n_rows = bk_min_size(BK_GROUP_ROWS, p->n_rows - row);
        /* Bits are OR-ed in, and rows that do not exist must be zero. */
        if (n_rows < BK_GROUP_ROWS || p->type->layout == BK_LAYOUT_N5 ||
            p->type->layout == BK_LAYOUT_N6)
            memset(group, 0, p->group_bytes);
        for (size_t r = 0; r < n_rows; r++) pack_row(p, rows + (row + r) * row_bytes, r, group);
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

void bk_packed_block(const bk_packed *p, size_t r, size_t b, bk_canon *out) {
    const uint8_t *group = p->data + r / BK_GROUP_ROWS * p->group_bytes;
    const uint8_t *lines = group + p->scale_bytes;
    size_t nb = p->k / 32, ns = p->k / 256, row = r % BK_GROUP_ROWS;
    lines += b * lines_per_block(p->type->layout) * BK_LINE;
    for (size_t i = 0; i < 32; i++) out->q[i] = get_q(p->type->layout, lines, row, i);
    out->m = 0;
    switch (p->type->type) {
    case BK_TYPE_Q4_1:
        out->m = get16(group, b, row);
        out->d[0] = out->d[1] = get16(group + nb * 32, b, row);
        break;
    case BK_TYPE_Q4_K: {
        const uint8_t *mn = group + ns * 64, *sc = mn + nb * 16;
        out->m = -(get16(group, b / 8, row) * (float)mn[b * 16 + row]);
        out->d[0] = out->d[1] = get16(group + ns * 32, b / 8, row) * (float)sc[b * 16 + row];
        break;
    }
    case BK_TYPE_Q6_K: {
        const int8_t *sc = (const int8_t *)group + ns * 32;
        float d = get16(group, b / 8, row);
        out->d[0] = d * (float)sc[2 * b * 16 + row];
        out->d[1] = d * (float)sc[(2 * b + 1) * 16 + row];
        break;
    }
    default: out->d[0] = out->d[1] = get16(group, b, row);
    }
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
            out[32 * b + i] = c.d[i / 16] * (float)((int)c.q[i] - p->type->zero) + c.m;
        }
    }
}
