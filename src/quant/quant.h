/* Block formats of weights. One file per format; with that file alone everything works: the
 * registry finds it by its GGUF number, and kernels take its rows through `unpack`.
 *
 * Canonical form. Every integer format is, per 32 consecutive weights of a row,
 *     w[i] = d[i / sub] * (q[i] - zero) + m          i = 0..31
 * with q an unsigned byte, `zero` a constant of the format, one scale d per `sub` (16 or 32)
 * weights and, in some formats, an offset m. The dot product is exact in int32 up to those floats. */
#ifndef BRISK_QUANT_QUANT_H
#define BRISK_QUANT_QUANT_H

#include "base/base.h"

/* Numbers as in GGUF files (ggml_type). */
typedef enum bk_type {
    BK_TYPE_F32 = 0,
    BK_TYPE_F16 = 1,
    BK_TYPE_Q4_0 = 2,
    BK_TYPE_Q4_1 = 3,
    BK_TYPE_Q5_0 = 6,
    BK_TYPE_Q8_0 = 8,
    BK_TYPE_Q4_K = 12,
    BK_TYPE_Q6_K = 14,
    BK_TYPE_BF16 = 30
} bk_type;

/* How the packed weights are stored; see kernel/pack.h. */
typedef enum bk_layout {
    BK_LAYOUT_F32, /* lines of 16 rows, one k each */
    BK_LAYOUT_F16,
    BK_LAYOUT_BF16,
    BK_LAYOUT_N4, /* nibble lines: 16 rows, k and k+16 */
    BK_LAYOUT_N5, /* nibble lines and one line of high bits per 32 k */
    BK_LAYOUT_N6, /* nibble lines and two lines of high bit pairs per 32 k */
    BK_LAYOUT_B8  /* byte lines: 16 rows, 4 k */
} bk_layout;

/* 32 weights of one row in the canonical form. */
typedef struct bk_canon {
    uint8_t q[32];
    float d[2]; /* scale of weights 0..15 and 16..31; equal when sub is 32 */
    float m;    /* 0 in formats without offset */
} bk_canon;

typedef struct bk_quant {
    bk_type type;
    const char *name; /* "Q4_1" */
    size_t block_len; /* weights per block: 1, 32 or 256 */
    size_t block_bytes;
    bk_layout layout;
    int zero; /* 0, 8, 16, 32 or 128 */
    int sub;  /* 16 or 32; 0 for float formats */
    bool has_min;
    int bits; /* of q: 4, 5, 6 or 8; 0 for float formats */

    /* n weights (a multiple of block_len) to float. Exact up to float rounding of each product. */
    void (*dequantize)(const void *blocks, float *out, size_t n);
    /* The weights [32*i, 32*i + 32) of a row that starts at `row`. NULL for float formats. */
    void (*unpack)(const void *row, size_t i, bk_canon *out);
} bk_quant;

/* NULL when the number is unknown or not supported. */
const bk_quant *bk_quant_find(uint32_t type);

/* The name of any type number that the GGUF format defines ("IQ2_XXS"), supported or not; NULL
 * when undefined. For error messages. */
const char *bk_quant_type_name(uint32_t type);

/* IEEE half and bfloat16 to float (exact) and back (round to nearest even; half: overflow to
 * infinity). */
float bk_f16_to_f32(uint16_t h);
uint16_t bk_f32_to_f16(float f);
float bk_bf16_to_f32(uint16_t h);
uint16_t bk_f32_to_bf16(float f);

#endif
