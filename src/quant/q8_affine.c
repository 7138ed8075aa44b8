/* Q8_AFFINE: 32 weights in 40 bytes, w = scale * q + minimum.
 *     float scale; float minimum; int8 qs[32], q - 128, as lines of bytes want them.
 * The canonical form counts from there, so its offset is minimum + 128 * scale. */
#include <math.h>
#include <string.h>

#include "quant/affine.h"
#include "quant/formats.h"

enum { BLOCK_BYTES = BK_AFFINE_BLOCK_BYTES, QS = BK_AFFINE_HEAD };

static bk_affine head_of(const uint8_t *b) {
    uint32_t bits[2] = {bk_load_le32(b), bk_load_le32(b + 4)};
    bk_affine a;
    memcpy(&a, bits, sizeof a);
    return a;
}

static void put_head(bk_affine a, uint8_t *b) {
    uint32_t bits[2];
    memcpy(bits, &a, sizeof a);
    bk_store_le32(b, bits[0]);
    bk_store_le32(b + 4, bits[1]);
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_affine a = head_of(b);
    for (size_t j = 0; j < 32; j++) out->q[j] = bk_canon_byte((int8_t)b[QS + j]);
    out->d[0] = out->d[1] = a.scale;
    out->m[0] = out->m[1] = (float)((double)a.minimum + 128.0 * a.scale);
}

bool bk_affine_extend(bk_affine_range *range, const float *x, size_t n) {
    float low = range->smallest, high = range->largest;
    bool good = true;
    for (size_t i = 0; i < n; i++) {
        good &= fabsf(x[i]) <= BK_AFFINE_MOST;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *range = (bk_affine_range){low, high};
    return good;
}

bk_affine bk_affine_of(bk_affine_range range) {
    return (bk_affine){(float)(((double)range.largest - range.smallest) / 255), range.smallest};
}

void bk_affine_round(bk_affine a, const float *x, void *blocks, size_t n) {
    uint8_t *b = blocks;
    double inverse = a.scale > 0 ? 1.0 / a.scale : 0;
    for (; n >= 32; n -= 32, x += 32, b += BLOCK_BYTES) {
        put_head(a, b);
        for (size_t i = 0; i < 32; i++) {
            double q = ((double)x[i] - a.minimum) * inverse + 0.5;
            b[QS + i] = bk_canon_byte(q > 0 ? q < 255 ? (int)q : 255 : 0);
        }
    }
}

void bk_affine_join(bk_affine a, const uint8_t *q, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (; n >= 32; n -= 32, q += 32, b += BLOCK_BYTES) {
        put_head(a, b);
        for (size_t i = 0; i < 32; i++) b[QS + i] = bk_canon_byte(q[i]);
    }
}

bk_affine bk_affine_split(const void *blocks, uint8_t *q, size_t n) {
    const uint8_t *b = blocks;
    bk_affine a = head_of(b);
    for (; n >= 32; n -= 32, q += 32, b += BLOCK_BYTES)
        for (size_t i = 0; i < 32; i++) q[i] = bk_canon_byte(b[QS + i]);
    return a;
}

const bk_quant bk_quant_q8_affine = {
    .type = BK_TYPE_Q8_AFFINE,
    .name = "Q8_AFFINE",
    .block_len = BK_AFFINE_BLOCK,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_B8,
    .zero = 128,
    .sub = 32,
    .has_min = true,
    .bits = 8,
    .m_at = 4,
    .lines_at = QS,
    .unpack = unpack,
};
