/* Block formats of weights. One file per format; with that file and its line in the table of
 * quant.c everything works: docs/add-a-format.md.
 *
 * Canonical form. Every integer format is, per 32 consecutive weights of a row,
 *     w[i] = d[i / sub] * (q[i] - zero) + m[i / sub]          i = 0..31
 * with q an unsigned byte, `zero` a constant of the format (0 or a power of two), one scale d and in
 * some formats one offset m per `sub` (16 or 32) weights. The dot product is exact in int32 up to
 * those floats.
 *
 * Scales are taken as the file has them: one that is infinite or NaN makes the weights and whatever
 * is computed from them infinite or NaN, and nothing else. */
#ifndef BRISK_QUANT_QUANT_H
#define BRISK_QUANT_QUANT_H

#include "base/error.h"

/* Numbers as in GGUF files (ggml_type): of formats that are here, and of some that could be. */
typedef enum bk_type {
    BK_TYPE_F32 = 0,
    BK_TYPE_F16 = 1,
    BK_TYPE_Q4_0 = 2,
    BK_TYPE_Q4_1 = 3,
    BK_TYPE_Q5_0 = 6,
    BK_TYPE_Q5_1 = 7,
    BK_TYPE_Q8_0 = 8,
    BK_TYPE_Q2_K = 10,
    BK_TYPE_Q3_K = 11,
    BK_TYPE_Q4_K = 12,
    BK_TYPE_Q5_K = 13,
    BK_TYPE_Q6_K = 14,
    BK_TYPE_IQ2_XXS = 16,
    BK_TYPE_IQ2_XS = 17,
    BK_TYPE_IQ3_XXS = 18,
    BK_TYPE_IQ1_S = 19,
    BK_TYPE_IQ4_NL = 20,
    BK_TYPE_IQ3_S = 21,
    BK_TYPE_IQ2_S = 22,
    BK_TYPE_IQ4_XS = 23,
    BK_TYPE_I8 = 24, /* bytes for parts of other tensors (format/gguf_parts.h): no matrix */
    BK_TYPE_IQ1_M = 29,
    BK_TYPE_BF16 = 30,
    BK_TYPE_TQ1_0 = 34,
    BK_TYPE_TQ2_0 = 35,
    BK_TYPE_MXFP4 = 39,
    BK_TYPE_NVFP4 = 40,
    BK_TYPE_Q8_AFFINE =
        63 /* brisk's own (quant/affine.h); files have it in parts, not as a number */
} bk_type;

/* How q lies in the packed lines; see kernel/packed.h. */
typedef enum bk_layout {
    BK_LAYOUT_F32, /* lines of 16 rows, one k each */
    BK_LAYOUT_F16,
    BK_LAYOUT_BF16,
    BK_LAYOUT_N4,  /* nibble lines: 16 rows, k and k+16 */
    BK_LAYOUT_C4,  /* nibble lines of places in the codebook; q is the entry + 128 */
    BK_LAYOUT_N5,  /* nibble lines and one line of high bits per 32 k */
    BK_LAYOUT_N6,  /* nibble lines and two lines of high bit pairs per 32 k */
    BK_LAYOUT_B8,  /* byte lines: 16 rows, 4 k */
    BK_LAYOUT_NONE /* never packed */
} bk_layout;

/* How d and m are stored before the packed lines. */
typedef enum bk_scales {
    BK_SCALES_FLOAT, /* as floats, whatever the file has: from unpack */
    BK_SCALES_HALF,  /* the halves of each block of 32 */
    BK_SCALES_SUPER  /* halves per block of 256, times bytes per `sub` weights */
} bk_scales;

/* 32 weights of one row in the canonical form. */
typedef struct bk_canon {
    uint8_t q[32];
    float d[2]; /* scale of weights 0..15 and 16..31; equal when sub is 32 */
    float m[2]; /* likewise; 0 in formats without offset */
} bk_canon;

typedef struct bk_quant {
    bk_type type;
    const char *name; /* "Q4_1" */
    size_t block_len; /* weights per block: 1, or a multiple of 32 */
    size_t block_bytes;
    bk_layout layout;
    bk_scales scales;
    int zero; /* 0 or a power of two; 128 with layouts C4 and B8 */
    int sub;  /* 16 or 32; 0 for float formats */
    bool has_min;
    int bits; /* of q: 2 to 8; 0 for float formats */

    const int8_t *codebook; /* 16 entries; layout C4 alone */
    size_t d_at, m_at;      /* scales HALF and SUPER: where in a block the halves of d and m are */
    size_t lines_at;        /* not 0: from there on a block's quants lie as the lines want them */

    /* n floats (a multiple of block_len) to the nearest weights, blocks as in a file: each by itself,
     * without weighing what the others lose. NULL: this way is not there. Values beyond what the format
     * holds are cut, NaN becomes any weight; float formats keep both. */
    void (*quantize)(const float *x, void *blocks, size_t n);

    /* The same to what loses least: n floats (a multiple of block_len) of ONE row of a matrix - the whole
     * row, since its mean square may be asked for - become blocks whose weights w' make
     *     sum importance[i] * (x[i] - w'[i])^2
     * small, found by a search over scales. importance[i] >= 0 is how much an error of weight i costs:
     * the mean square of what it is multiplied with, so it has one number per column of the matrix.
     * Only its proportions within a block count. NULL: nothing is known of the inputs, and the weights
     * are weighed as bk_search_blocks (quant/search.h) says. A block's result depends on nothing but x
     * and importance (not on time, threads or the CPU). NaN counts for nothing and becomes any weight,
     * what is beyond the format is cut, and importance that is negative, NaN or infinite is read as 0;
     * where all of a block's is 0, its weights count alike. NULL (the pointer): no search is there;
     * float formats have none. Thread-safe; needs no memory but the stack. */
    void (*search)(const float *x, const float *importance, void *blocks, size_t n);

    /* Float formats: n weights to float. */
    void (*dequantize)(const void *blocks, float *out, size_t n);
    /* Optional, where four weights at a time can be moved: what these 32 weights are in the packed
     * lines, 4 bytes a line. */
    void (*words)(const void *row, size_t i, uint32_t out[8]);
    /* Integer formats: the weights [32*i, 32*i + 32) of a row that starts at `row`. */
    void (*unpack)(const void *row, size_t i, bk_canon *out);
    /* Scales SUPER: group g of a block (of `sub` weights) has d * scale and, in formats with
     * offset, -(m * min). */
    void (*scale)(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min);
} bk_quant;

/* n weights (a multiple of block_len) to float. Exact up to float rounding of each operation. */
void bk_quant_dequantize(const bk_quant *format, const void *blocks, float *out, size_t n);

/* NULL when the number is unknown or not supported. */
const bk_quant *bk_quant_find(uint32_t type);

/* By name, in whatever case ("q4_0"); INVALID lists all there are. */
bk_status bk_quant_named(const char *name, const bk_quant **out, bk_error *err);

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
