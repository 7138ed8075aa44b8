/* Q4_K: 256 weights in 144 bytes, in 8 groups of 32: w = d * scale[g] * q - dmin * min[g].
 *     half d; half dmin; byte scales[12]; byte qs[128].
 * scale and min are 6 bits each. Groups 0..3 have theirs in the low 6 bits of bytes g and g + 4;
 * groups 4..7 have 4 low bits in the nibbles of byte g + 4 and 2 high bits in the top of bytes
 * g - 4 and g. Bytes 32 * p .. + 31 of qs hold group 2p in the low and 2p + 1 in the high nibbles. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 144, M = 2, SCALES = 4, QS = 16 };

void bk_q4_k_scale(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    const uint8_t *s = block + SCALES;
    if (g < 4) {
        *scale = (int8_t)(s[g] & 63);
        *min = s[g + 4] & 63;
    } else {
        *scale = (int8_t)((s[g + 4] & 15) | s[g - 4] >> 6 << 4);
        *min = (uint8_t)(s[g + 4] >> 4 | s[g] >> 6 << 4);
    }
}

void bk_q4_k_pack_scales(const bk_super *s, uint8_t *block) {
    uint8_t *at = block + SCALES;
    memset(at, 0, 12);
    for (size_t g = 0; g < 4; g++) {
        int scale = s->scale[g + 4], min = s->min[g + 4];
        at[g] = (uint8_t)(s->scale[g] | scale >> 4 << 6);
        at[g + 4] = (uint8_t)(s->min[g] | min >> 4 << 6);
        at[g + 8] = (uint8_t)((scale & 15) | (min & 15) << 4);
    }
    bk_store_half(block, s->d);
    bk_store_half(block + M, s->m);
}

void bk_q4_k_pack_nibbles(const bk_super *s, uint8_t qs[128]) {
    for (size_t i = 0; i < 128; i++) {
        const uint8_t *q = s->q + i / 32 * 64 + i % 32; /* group 2p, and 2p + 1 after it */
        qs[i] = (uint8_t)((q[0] & 15) | (q[32] & 15) << 4);
    }
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 2 * 32;
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] >> i % 2 * 4 & 15;
    bk_canon_super(&bk_quant_q4_k, b, i % 8, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    bk_nibble_words(b + QS + i % 8 / 2 * 32, i % 2 * 4, out);
}

/* ---- From floats -------------------------------------------------------------------------------- */

static const bk_super_form form = {
    .levels = {0, 15, NULL, NULL},
    .groups = 8,
    .scale_low = 0,
    .scale_high = 63,
    .min_high = 63,
};

static void pack(const bk_super *s, uint8_t *b) {
    bk_q4_k_pack_scales(s, b);
    bk_q4_k_pack_nibbles(s, b + QS);
}

static void plain_block(const float *w, const float *h, uint8_t *b) {
    (void)h;
    bk_super s;
    bk_super_plain(&form, w, &s);
    pack(&s, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_super s;
    bk_super_search(&form, w, h, &s);
    pack(&s, b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_q4_k, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q4_k, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q4_k = {
    .type = BK_TYPE_Q4_K,
    .name = "Q4_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_SUPER,
    .sub = 32,
    .has_min = true,
    .bits = 4,
    .m_at = M,
    .words = words,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
    .scale = bk_q4_k_scale,
};
