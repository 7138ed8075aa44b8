/* Block formats: against checksums of an independent implementation (tests/tools/quant_vectors.py
 * prints them), and against what the canonical form promises. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "quant/quant.h"

enum { N_BLOCKS = 64, MAX_BLOCK = 256, MAX_BLOCK_BYTES = 210 };

/* The integer format after `q` in the registry, the first after NULL; NULL after the last. */
static const bk_quant *next_integer(const bk_quant *q) {
    for (uint32_t type = q ? q->type + 1u : 0; type < 256; type++) {
        const bk_quant *next = bk_quant_find(type);
        if (next && next->unpack) return next;
    }
    return NULL;
}

/* Random bytes, with the scales (halves) kept finite. */
static void random_blocks(const bk_quant *q, uint8_t *out) {
    bool halves =
        q->type != BK_TYPE_MXFP4 && q->type != BK_TYPE_IQ1_M && q->type != BK_TYPE_Q8_AFFINE;
    bk_rng r;
    bk_rng_seed(&r, q->type, 1);
    for (size_t i = 0; i < N_BLOCKS * q->block_bytes; i++) out[i] = (uint8_t)bk_rng_u32(&r);
    for (size_t b = 0; q->type == BK_TYPE_IQ1_M && b < N_BLOCKS; b++)
        out[b * q->block_bytes + 55] &= 0xBF; /* the top of a scale in four pieces */
    for (size_t b = 0; q->type == BK_TYPE_Q8_AFFINE && b < N_BLOCKS; b++)
        out[b * q->block_bytes + 3] &= 0xBF, out[b * q->block_bytes + 7] &= 0xBF; /* two floats */
    for (size_t b = 0; halves && b < N_BLOCKS; b++) {
        uint8_t *block = out + b * q->block_bytes;
        if ((block[q->d_at + 1] & 0x7C) == 0x7C) block[q->d_at + 1] ^= 0x40;
        if (q->has_min && (block[q->m_at + 1] & 0x7C) == 0x7C) block[q->m_at + 1] ^= 0x40;
    }
}

static uint64_t fnv1a(const float *values, size_t n) {
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) {
        float f = values[i] + 0.0f; /* -0 becomes 0, as in the script */
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        for (int k = 0; k < 4; k++) h = (h ^ (bits >> 8 * k & 255)) * 0x100000001B3u;
    }
    return h;
}

static void dequantize_matches_reference(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        uint64_t sum;
    } vectors[] = {
        {BK_TYPE_Q4_0, 0xcda75176c8f21e7e},      {BK_TYPE_Q4_1, 0xf6fc49f7602a61a9},
        {BK_TYPE_Q5_0, 0x029653867a77a4b9},      {BK_TYPE_Q5_1, 0x3647f55be8178822},
        {BK_TYPE_Q8_0, 0x9a980d4091384fed},      {BK_TYPE_Q2_K, 0x3b7de657d18c5244},
        {BK_TYPE_Q3_K, 0xb91d9e3fb25fea22},      {BK_TYPE_Q4_K, 0xd5a811689e61a077},
        {BK_TYPE_Q5_K, 0xaa778f21d2f7d16c},      {BK_TYPE_Q6_K, 0xa39a2a3d0beb084d},
        {BK_TYPE_IQ2_XXS, 0x37b6864e0430a87b},   {BK_TYPE_IQ2_XS, 0xf9327a22900d02d1},
        {BK_TYPE_IQ2_S, 0x0207cdbb75c16dd3},     {BK_TYPE_IQ3_XXS, 0xf7f7835fce1b635c},
        {BK_TYPE_IQ3_S, 0x2d39c0fd69bcdc07},     {BK_TYPE_IQ4_NL, 0x6f36117f964d2bcb},
        {BK_TYPE_IQ4_XS, 0x9fd5586e456be178},    {BK_TYPE_MXFP4, 0xcc71c1b1f24e10f8},
        {BK_TYPE_TQ2_0, 0x3ec801092223a01f},     {BK_TYPE_TQ1_0, 0x21d67076034784fe},
        {BK_TYPE_IQ1_S, 0x4bf2f55c0a30e59e},     {BK_TYPE_IQ1_M, 0xe29e818c191acb44},
        {BK_TYPE_Q8_AFFINE, 0x0d8a89232a48560f},
    };
    static uint8_t blocks[N_BLOCKS * MAX_BLOCK_BYTES];
    static float out[N_BLOCKS * MAX_BLOCK + 1];
    for (const bk_quant *q = next_integer(NULL); q; q = next_integer(q)) {
        size_t n = N_BLOCKS * q->block_len;
        assert_true(q->block_bytes <= MAX_BLOCK_BYTES && q->block_len <= MAX_BLOCK);
        random_blocks(q, blocks);
        out[n] = 12345;
        bk_quant_dequantize(q, blocks, out, n);
        assert_true(out[n] == 12345);
        size_t i = 0;
        while (i < BK_ARRAY_LEN(vectors) && vectors[i].type != q->type) i++;
        if (i == BK_ARRAY_LEN(vectors))
            fail_msg("%s has no checksum: tests/tools/quant_vectors.py prints it", q->name);
        if (fnv1a(out, n) != vectors[i].sum) fail_msg("%s: wrong weights", q->name);
    }
}

static void canonical_equals_dequantized(void **state) {
    (void)state;
    static uint8_t blocks[N_BLOCKS * MAX_BLOCK_BYTES];
    static float out[N_BLOCKS * MAX_BLOCK];
    for (const bk_quant *q = next_integer(NULL); q; q = next_integer(q)) {
        size_t n = N_BLOCKS * q->block_len;
        random_blocks(q, blocks);
        bk_quant_dequantize(q, blocks, out, n);
        for (size_t i = 0; i < n / 32; i++) {
            bk_canon c;
            memset(&c, 0xA5, sizeof c);
            q->unpack(blocks, i, &c);
            if (q->sub == 32) assert_true(c.d[0] == c.d[1] && c.m[0] == c.m[1]);
            if (!q->has_min) assert_true(c.m[0] == 0 && c.m[1] == 0);
            for (size_t k = 0; k < 32; k++) {
                assert_true(c.q[k] < 1 << q->bits);
                float w = c.d[k / 16] * (float)(c.q[k] - q->zero) + c.m[k / 16];
                assert_true(w == out[32 * i + k]);
            }
        }
    }
}

/* Every bit of a block that is not a scale belongs to exactly one weight, with one place value, and
 * each weight has all its bits: nothing is lost, doubled or read from a neighbour. (Codebooks and
 * base 3 have no place values.) */
static void every_bit_has_one_weight(void **state) {
    (void)state;
    for (const bk_quant *q = next_integer(NULL); q; q = next_integer(q)) {
        if (q->codebook || q->type == BK_TYPE_TQ1_0) continue;
        uint8_t block[MAX_BLOCK_BYTES], seen[MAX_BLOCK];
        size_t payload = 0;
        bk_canon base[MAX_BLOCK / 32];
        memset(block, 0, sizeof block);
        memset(seen, 0, sizeof seen);
        for (size_t g = 0; g < q->block_len / 32; g++) q->unpack(block, g, &base[g]);
        for (size_t bit = 0; bit < 8 * q->block_bytes; bit++) {
            size_t changed = 0;
            block[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bk_canon c = {.q = {0}};
            for (size_t i = 0; i < q->block_len; i++) {
                if (i % 32 == 0) q->unpack(block, i / 32, &c);
                uint8_t diff = c.q[i % 32] ^ base[i / 32].q[i % 32];
                if (!diff) continue;
                changed++;
                assert_true((diff & (diff - 1)) == 0 && !(seen[i] & diff));
                seen[i] |= diff;
            }
            assert_true(changed <= 1);
            payload += changed;
            block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(payload, q->block_len * (size_t)q->bits);
        for (size_t i = 0; i < q->block_len; i++) assert_int_equal(seen[i], (1 << q->bits) - 1);
    }
}

/* Blocks written by hand, so that the drawings in the sources are checked, too. */
static void hand_made_blocks(void **state) {
    (void)state;
    bk_canon c;
    uint8_t q4_1[20] = {0x00, 0x38, 0x00, 0xC0, 0x21}; /* d 0.5, m -2, weights 0 and 16: 1 and 2 */
    bk_quant_find(BK_TYPE_Q4_1)->unpack(q4_1, 0, &c);
    assert_true(c.d[0] == 0.5f && c.m[0] == -2.0f && c.m[1] == -2.0f && c.q[0] == 1 &&
                c.q[16] == 2 && c.q[1] == 0);

    uint8_t q8_0[34] = {0x00, 0x3C, 0x80, 0x7F, 0xFF};
    float w[256];
    bk_quant_dequantize(bk_quant_find(BK_TYPE_Q8_0), q8_0, w, 32);
    assert_true(w[0] == -128 && w[1] == 127 && w[2] == -1 && w[3] == 0);

    /* Group 5: scale 0x2B = low nibble of byte 9, top of byte 1; min 0x1C likewise of 9 and 5. */
    uint8_t q4_k[144] = {0x00, 0x3C, 0x00, 0x38};
    q4_k[4 + 1] = 2 << 6;
    q4_k[4 + 5] = 1 << 6;
    q4_k[4 + 9] = 0x0B | 0x0C << 4;
    q4_k[16 + 2 * 32 + 7] = 0x90; /* weight 7 of group 5 */
    bk_quant_find(BK_TYPE_Q4_K)->unpack(q4_k, 5, &c);
    assert_true(c.d[0] == 43 && c.d[1] == 43 && c.m[0] == -14 && c.m[1] == -14 && c.q[7] == 9 &&
                c.q[6] == 0);

    /* The second half's part 3 has scales 14 and 15. */
    uint8_t q6_k[210] = {0};
    q6_k[208 + 1] = 0x3C;
    q6_k[192 + 14] = 3;
    q6_k[192 + 15] = 0x80;
    q6_k[64 + 32 + 20] = 0x50;
    q6_k[128 + 32 + 20] = 0x80;
    bk_quant_find(BK_TYPE_Q6_K)->unpack(q6_k, 7, &c);
    assert_true(c.d[0] == 3 && c.d[1] == -128 && c.q[20] == 0x25 && c.q[21] == 0);

    /* Part 6 has groups 12 and 13; its quants are bits 4 and 5 of the second 32 bytes. */
    uint8_t q2_k[84] = {0};
    q2_k[12] = 0x73;
    q2_k[13] = 0x0F;
    q2_k[16 + 32 + 17] = 0x20;
    q2_k[81] = 0x3C;
    q2_k[83] = 0x40;
    bk_quant_find(BK_TYPE_Q2_K)->unpack(q2_k, 6, &c);
    assert_true(c.d[0] == 3 && c.m[0] == -14 && c.d[1] == 15 && c.m[1] == 0 && c.q[17] == 2);

    /* Scale 9 (part 4, second half): low bits in the high nibble of byte 1, high ones at bit 4 of
     * byte 9. */
    uint8_t q3_k[110] = {0};
    q3_k[96 + 1] = 0x50;
    q3_k[96 + 9] = 0x20;
    q3_k[109] = 0x3C;
    q3_k[5] = 0x10;
    bk_quant_find(BK_TYPE_Q3_K)->unpack(q3_k, 4, &c);
    assert_true(c.d[0] == -32 && c.d[1] == 5 && c.q[5] == 4 && c.q[6] == 0);

    uint8_t mxfp4[17] = {127, 0xF2}; /* 2^0 * 1 and -6 */
    bk_quant_dequantize(bk_quant_find(BK_TYPE_MXFP4), mxfp4, w, 32);
    assert_true(w[0] == 1 && w[16] == -6 && w[1] == 0);
}

static void registry(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        const char *name;
        size_t len, bytes;
        int zero, sub, bits;
        bool has_min;
    } wanted[] = {
        {BK_TYPE_F32, "F32", 1, 4, 0, 0, 0, false},
        {BK_TYPE_F16, "F16", 1, 2, 0, 0, 0, false},
        {BK_TYPE_BF16, "BF16", 1, 2, 0, 0, 0, false},
        {BK_TYPE_Q4_0, "Q4_0", 32, 18, 8, 32, 4, false},
        {BK_TYPE_Q4_1, "Q4_1", 32, 20, 0, 32, 4, true},
        {BK_TYPE_Q5_0, "Q5_0", 32, 22, 16, 32, 5, false},
        {BK_TYPE_Q5_1, "Q5_1", 32, 24, 0, 32, 5, true},
        {BK_TYPE_Q8_0, "Q8_0", 32, 34, 128, 32, 8, false},
        {BK_TYPE_Q2_K, "Q2_K", 256, 84, 0, 16, 2, true},
        {BK_TYPE_Q3_K, "Q3_K", 256, 110, 4, 16, 3, false},
        {BK_TYPE_Q4_K, "Q4_K", 256, 144, 0, 32, 4, true},
        {BK_TYPE_Q5_K, "Q5_K", 256, 176, 0, 32, 5, true},
        {BK_TYPE_Q6_K, "Q6_K", 256, 210, 32, 16, 6, false},
        {BK_TYPE_IQ2_XXS, "IQ2_XXS", 256, 66, 128, 32, 8, false},
        {BK_TYPE_IQ2_XS, "IQ2_XS", 256, 74, 128, 16, 8, false},
        {BK_TYPE_IQ2_S, "IQ2_S", 256, 82, 128, 16, 8, false},
        {BK_TYPE_IQ3_XXS, "IQ3_XXS", 256, 98, 128, 32, 8, false},
        {BK_TYPE_IQ3_S, "IQ3_S", 256, 110, 128, 32, 8, false},
        {BK_TYPE_IQ4_NL, "IQ4_NL", 32, 18, 128, 32, 8, false},
        {BK_TYPE_IQ4_XS, "IQ4_XS", 256, 136, 128, 32, 8, false},
        {BK_TYPE_MXFP4, "MXFP4", 32, 17, 128, 32, 8, false},
        {BK_TYPE_IQ1_S, "IQ1_S", 256, 50, 128, 32, 8, false},
        {BK_TYPE_IQ1_M, "IQ1_M", 256, 56, 128, 16, 8, false},
        {BK_TYPE_TQ1_0, "TQ1_0", 256, 54, 1, 16, 2, false},
        {BK_TYPE_TQ2_0, "TQ2_0", 256, 66, 1, 16, 2, false},
        {BK_TYPE_Q8_AFFINE, "Q8_AFFINE", 32, 40, 128, 32, 8, true},
    };
    size_t n = 0;
    for (uint32_t type = 0; type < 1000; type++) {
        const bk_quant *q = bk_quant_find(type);
        n += q && q->layout != BK_LAYOUT_NONE; /* bytes are no format of weights */
    }
    assert_int_equal(n, BK_ARRAY_LEN(wanted));
    for (size_t i = 0; i < n; i++) {
        const bk_quant *q = bk_quant_find(wanted[i].type);
        assert_non_null(q);
        assert_string_equal(q->name, wanted[i].name);
        assert_string_equal(bk_quant_type_name(wanted[i].type), wanted[i].name);
        assert_int_equal(q->block_len, wanted[i].len);
        assert_int_equal(q->block_bytes, wanted[i].bytes);
        assert_int_equal(q->zero, wanted[i].zero);
        assert_int_equal(q->sub, wanted[i].sub);
        assert_int_equal(q->bits, wanted[i].bits);
        assert_int_equal(q->has_min, wanted[i].has_min);
        assert_int_equal(q->dequantize != NULL, wanted[i].bits == 0);
        assert_int_equal(q->unpack != NULL, wanted[i].bits != 0);
        assert_int_equal(q->scale != NULL, q->scales == BK_SCALES_SUPER);
        assert_int_equal(q->codebook != NULL, q->layout == BK_LAYOUT_C4);
    }
    assert_null(bk_quant_find(UINT32_MAX));
    assert_string_equal(bk_quant_type_name(41), "Q1_0");
    assert_string_equal(bk_quant_type_name(40), "NVFP4");
    assert_null(bk_quant_type_name(31)); /* withdrawn */
    assert_null(bk_quant_type_name(1000));
    assert_null(bk_quant_type_name(UINT32_MAX));
}

/* ---- Halves --------------------------------------------------------------------------------- */

static double half_value(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

static void half_to_float(void **state) {
    (void)state;
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        float f = bk_f16_to_f32((uint16_t)h);
        if ((h & 0x7C00) == 0x7C00) {
            assert_true(h & 0x3FF ? isnan(f) : isinf(f));
        } else {
            assert_true((double)f == half_value((uint16_t)h));
        }
        assert_int_equal(signbit(f) != 0, h >> 15);
        if (!isnan(f)) assert_int_equal(bk_f32_to_f16(f), h);
    }
}

/* Between each two neighbours: the middle goes to the even one, what is nearer to one goes there. */
static void float_to_half(void **state) {
    (void)state;
    for (uint16_t h = 0; h < 0x7C00; h++) {
        double a = half_value(h), b = h == 0x7BFF ? 65536.0 : half_value((uint16_t)(h + 1));
        float middle = (float)((a + b) / 2); /* exact */
        uint16_t even = h & 1 ? (uint16_t)(h + 1) : h;
        assert_int_equal(bk_f32_to_f16(middle), even);
        assert_int_equal(bk_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(bk_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(bk_f32_to_f16(-middle), 0x8000 | even);
    }
    assert_int_equal(bk_f32_to_f16(1e30f), 0x7C00);
    assert_int_equal(bk_f32_to_f16(-INFINITY), 0xFC00);
    assert_int_equal(bk_f32_to_f16(1e-40f), 0);
    assert_int_equal(bk_f32_to_f16(-1e-40f), 0x8000);
    assert_true(isnan(bk_f16_to_f32(bk_f32_to_f16(NAN))));
}

static void bfloat(void **state) {
    (void)state;
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        float f = bk_bf16_to_f32((uint16_t)h);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        if (!isnan(f)) {
            assert_int_equal(bits, h << 16);
            assert_int_equal(bk_f32_to_bf16(f), h);
        } else {
            assert_true(isnan(bk_bf16_to_f32(bk_f32_to_bf16(f))));
        }
        if ((h & 0x7F80) == 0x7F80) continue;
        uint32_t up = (uint32_t)h << 16 | 0x8000;
        memcpy(&f, &up, sizeof f);
        assert_int_equal(bk_f32_to_bf16(f), h + (h & 1));
        up++;
        memcpy(&f, &up, sizeof f);
        assert_int_equal(bk_f32_to_bf16(f), h + 1);
        up -= 2;
        memcpy(&f, &up, sizeof f);
        assert_int_equal(bk_f32_to_bf16(f), h);
    }
    uint32_t low_nan = 0x7F800001; /* its payload would vanish */
    float f;
    memcpy(&f, &low_nan, sizeof f);
    assert_true(isnan(bk_bf16_to_f32(bk_f32_to_bf16(f))));
}

static void float_formats(void **state) {
    (void)state;
    /* Unaligned on purpose. */
    uint8_t bytes[13] = {0, 0x00, 0x00, 0x80, 0x3F, 0x00, 0x00, 0x20, 0xC1, 0x00, 0x3C, 0x00, 0xC0};
    float w[3];
    bk_quant_dequantize(bk_quant_find(BK_TYPE_F32), bytes + 1, w, 2);
    assert_true(w[0] == 1.0f && w[1] == -10.0f);
    bk_quant_dequantize(bk_quant_find(BK_TYPE_F16), bytes + 9, w, 2);
    assert_true(w[0] == 1.0f && w[1] == -2.0f);
    bk_quant_dequantize(bk_quant_find(BK_TYPE_BF16), bytes + 3, w, 1);
    assert_true(w[0] == 1.0f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry),
        cmocka_unit_test(dequantize_matches_reference),
        cmocka_unit_test(canonical_equals_dequantized),
        cmocka_unit_test(every_bit_has_one_weight),
        cmocka_unit_test(hand_made_blocks),
        cmocka_unit_test(half_to_float),
        cmocka_unit_test(float_to_half),
        cmocka_unit_test(bfloat),
        cmocka_unit_test(float_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
