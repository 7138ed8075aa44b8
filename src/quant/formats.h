/* What the files of this folder share: the list of formats and the pieces that several consist of.
 * Blocks in files are packed and unaligned, so everything is read byte by byte, little-endian. */
#ifndef BRISK_QUANT_FORMATS_H
#define BRISK_QUANT_FORMATS_H

#include "quant/quant.h"

/* Every format; bk_quant_find goes through them in this order. */
/* clang-format off */
#define BK_FORMATS(X) \
    X(f32) X(f16) X(bf16) \
    X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) \
    X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k) \
    X(iq1_s) X(iq1_m) X(iq2_xxs) X(iq2_xs) X(iq2_s) X(iq3_xxs) X(iq3_s) X(iq4_nl) X(iq4_xs) \
    X(mxfp4) X(tq1_0) X(tq2_0) X(i8) X(q8_affine)
/* clang-format on */

#define BK_FORMAT_EXTERN(name) extern const bk_quant bk_quant_##name;
BK_FORMATS(BK_FORMAT_EXTERN)

static inline uint16_t bk_load_le16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t bk_load_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void bk_store_le16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void bk_store_le32(uint8_t *p, uint32_t v) {
    for (size_t i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static inline float bk_load_half(const uint8_t *p) { return bk_f16_to_f32(bk_load_le16(p)); }

/* 16 bytes to 32 nibbles: byte j has weight j in its low and weight j + 16 in its high half. */
static inline void bk_nibbles(const uint8_t *qs, uint8_t q[32]) {
    for (size_t j = 0; j < 16; j++) {
        q[j] = qs[j] & 15;
        q[j + 16] = qs[j] >> 4;
    }
}

static inline void bk_pack_nibbles(const uint8_t q[32], uint8_t *qs) {
    for (size_t j = 0; j < 16; j++) qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

/* Bit j of `bits` becomes bit 4 of q[j]. */
static inline void bk_fifth_bits(uint32_t bits, uint8_t q[32]) {
    for (size_t j = 0; j < 32; j++) q[j] = (uint8_t)(q[j] | (bits >> j & 1) << 4);
}

static inline void bk_pack_fifth_bits(const uint8_t q[32], uint8_t *qh) {
    for (size_t j = 0; j < 4; j++) {
        unsigned bits = 0;
        for (size_t k = 0; k < 8; k++) bits |= (unsigned)(q[8 * j + k] >> 4 & 1) << k;
        qh[j] = (uint8_t)bits;
    }
}

/* The reading two for bk_quant.words, of four weights at a time; `from` is the nibbles' place in K formats,
 * where a byte has weights of two blocks of 32. */
static inline void bk_nibble_words(const uint8_t qs[32], size_t from, uint32_t out[4]) {
    const uint32_t nibbles = 0x0F0F0F0F;
    for (size_t j = 0; j < 4; j++)
        out[j] = (bk_load_le32(qs + 4 * j) >> from & nibbles) |
                 (bk_load_le32(qs + 16 + 4 * j) >> from & nibbles) << 4;
}

/* Bit 4j + b becomes bit j of byte b. With a place's number taken for five bits this turns them round by
 * two, done as four exchanges of two of them (Knuth, The Art of Computer Programming 7.1.3). */
static inline uint32_t bk_bit_word(uint32_t x) {
    static const struct {
        uint32_t mask;
        int shift;
    } swaps[] = {{0x0000CCCC, 14}, {0x00AA00AA, 7}, {0x0C0C0C0C, 2}, {0x22222222, 1}};
    for (size_t i = 0; i < 4; i++) {
        uint32_t t = (x >> swaps[i].shift ^ x) & swaps[i].mask;
        x ^= t ^ t << swaps[i].shift;
    }
    return x;
}

/* A canonical byte of layouts C4 and B8: value + 128 is two's complement with its top bit turned. */
static inline uint8_t bk_canon_byte(int value) { return (uint8_t)(value ^ 0x80); }

/* Places in a codebook to canonical bytes. */
static inline void bk_look_up(const int8_t *codebook, uint8_t q[32]) {
    for (size_t j = 0; j < 32; j++) q[j] = bk_canon_byte(codebook[q[j]]);
}

/* d and m of 32 weights from the halves of their block (scales HALF). */
void bk_canon_half(const bk_quant *format, const uint8_t *block, bk_canon *out);

/* The same of the weights [32 * part, + 32) of a block of 256 (scales SUPER). */
void bk_canon_super(const bk_quant *format, const uint8_t *block, size_t part, bk_canon *out);

/* Scales of the two halves, no offsets. */
static inline void bk_canon_floats(bk_canon *out, float d0, float d1) {
    out->d[0] = d0;
    out->d[1] = d1;
    out->m[0] = out->m[1] = 0;
}

/* The 6-bit scale and min of group g (0..7) of a Q4_K or Q5_K block. */
void bk_q4_k_scale(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min);

/* And into a block: scales, minima and halves; the low four bits of its weights. */
typedef struct bk_super bk_super;
void bk_q4_k_pack_scales(const bk_super *s, uint8_t *block);
void bk_q4_k_pack_nibbles(const bk_super *s, uint8_t qs[128]);

extern const int8_t bk_iq4_codebook[16]; /* of IQ4_NL and IQ4_XS */
extern const float bk_iq4_nearest[256];  /* its number nearest to v at 128 + v */

#endif
