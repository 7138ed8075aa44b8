/* What the files of this folder share: the list of formats and the loop that most dequantisers are.
 * Blocks in files are packed and unaligned, so everything is read byte by byte, little-endian. */
#ifndef BRISK_QUANT_FORMATS_H
#define BRISK_QUANT_FORMATS_H

#include "quant/quant.h"

extern const bk_quant bk_quant_f32, bk_quant_f16, bk_quant_bf16;
extern const bk_quant bk_quant_q4_0, bk_quant_q4_1, bk_quant_q5_0, bk_quant_q8_0;
extern const bk_quant bk_quant_q4_k, bk_quant_q6_k;

static inline uint16_t bk_load_le16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t bk_load_le32(const uint8_t *p) {
    return (uint32_t)bk_load_le16(p) | (uint32_t)bk_load_le16(p + 2) << 16;
}

static inline float bk_load_half(const uint8_t *p) { return bk_f16_to_f32(bk_load_le16(p)); }

/* The 6-bit scale and min of group g (0..7) out of the 12 scale bytes of a Q4_K block. */
void bk_q4_k_scale(const uint8_t *scales, size_t g, unsigned *scale, unsigned *min);

/* n weights through the canonical form of an integer format. */
void bk_canon_dequantize(const bk_quant *format, const void *blocks, float *out, size_t n);

#endif
