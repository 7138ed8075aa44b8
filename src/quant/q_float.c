/* F32, F16, BF16 and I8: a block is one number. Conversions are integer arithmetic on the bits, the
 * same on every machine and without tables. */
#include <string.h>

#include "quant/formats.h"

static float bits_to_f32(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t f32_to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float bk_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7FFFu;
    if (mag < 0x0400) { /* subnormal: mag units of 2^-24, which is one ulp of 0.5 */
        float f = bits_to_f32(0x3F000000u | mag) - 0.5f;
        return bits_to_f32(f32_to_bits(f) | sign);
    }
    uint32_t rebias = mag >= 0x7C00 ? (255u - 31u) << 23 : (127u - 15u) << 23;
    return bits_to_f32(sign | ((mag << 13) + rebias));
}

uint16_t bk_f32_to_f16(float f) {
    uint32_t bits = f32_to_bits(f), sign = bits >> 16 & 0x8000, mag = bits & 0x7FFFFFFFu;
    if (mag > 0x7F800000u) return (uint16_t)(sign | 0x7E00 | (mag >> 13 & 0x3FF)); /* NaN, quiet */
    if (mag >= 0x47800000u) return (uint16_t)(sign | 0x7C00);                      /* from 65536 */
    if (mag < 0x38800000u) { /* below 2^-14: let the adder round to units of 2^-24 */
        return (uint16_t)(sign | (f32_to_bits(bits_to_f32(mag) + 0.5f) - 0x3F000000u));
    }
    mag += 0x0FFF + (mag >> 13 & 1); /* half to even; the carry may reach infinity, as it should */
    return (uint16_t)(sign | (mag - ((127u - 15u) << 23)) >> 13);
}

float bk_bf16_to_f32(uint16_t h) { return bits_to_f32((uint32_t)h << 16); }

uint16_t bk_f32_to_bf16(float f) {
    uint32_t bits = f32_to_bits(f);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40); /* NaN, quiet */
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static void dequantize_f32(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = bits_to_f32(bk_load_le32(p + 4 * i));
}

static void dequantize_f16(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = bk_load_half(p + 2 * i);
}

static void dequantize_bf16(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = bk_bf16_to_f32(bk_load_le16(p + 2 * i));
}

static void quantize_f32(const float *x, void *blocks, size_t n) {
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = f32_to_bits(x[i]);
        bk_store_le16(p + 4 * i, (uint16_t)bits);
        bk_store_le16(p + 4 * i + 2, (uint16_t)(bits >> 16));
    }
}

static void quantize_f16(const float *x, void *blocks, size_t n) {
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) bk_store_le16(p + 2 * i, bk_f32_to_f16(x[i]));
}

static void quantize_bf16(const float *x, void *blocks, size_t n) {
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) bk_store_le16(p + 2 * i, bk_f32_to_bf16(x[i]));
}

const bk_quant bk_quant_f32 = {
    .type = BK_TYPE_F32,
    .name = "F32",
    .block_len = 1,
    .block_bytes = 4,
    .layout = BK_LAYOUT_F32,
    .quantize = quantize_f32,
    .dequantize = dequantize_f32,
};

const bk_quant bk_quant_f16 = {
    .type = BK_TYPE_F16,
    .name = "F16",
    .block_len = 1,
    .block_bytes = 2,
    .layout = BK_LAYOUT_F16,
    .quantize = quantize_f16,
    .dequantize = dequantize_f16,
};

const bk_quant bk_quant_bf16 = {
    .type = BK_TYPE_BF16,
    .name = "BF16",
    .block_len = 1,
    .block_bytes = 2,
    .layout = BK_LAYOUT_BF16,
    .quantize = quantize_bf16,
    .dequantize = dequantize_bf16,
};

static void dequantize_i8(const void *blocks, float *out, size_t n) {
    const int8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = p[i];
}

const bk_quant bk_quant_i8 = {
    .type = BK_TYPE_I8,
    .name = "I8",
    .block_len = 1,
    .block_bytes = 1,
    .layout = BK_LAYOUT_NONE,
    .bits = 8,
    .dequantize = dequantize_i8,
};
