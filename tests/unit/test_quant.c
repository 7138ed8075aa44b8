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

static const uint32_t integer_types[] = {BK_TYPE_Q4_0, BK_TYPE_Q4_1, BK_TYPE_Q5_0,
                                         BK_TYPE_Q8_0, BK_TYPE_Q4_K, BK_TYPE_Q6_K};

/* Random bytes, with the scales (halves at these offsets) kept finite. */
static void random_blocks(const bk_quant *q, uint8_t *out) {
    int scales[2] = {q->type == BK_TYPE_Q6_K ? 208 : 0, -1};
    if (q->has_min) scales[1] = 2;
    bk_rng r;
    bk_rng_seed(&r, q->type, 1);
    for (size_t i = 0; i < N_BLOCKS * q->block_bytes; i++) out[i] = (uint8_t)bk_rng_u32(&r);
    for (size_t b = 0; b < N_BLOCKS; b++) {
        for (int s = 0; s < 2; s++) {
            if (scales[s] < 0) continue;
            uint8_t *high = &out[b * q->block_bytes + (size_t)scales[s] + 1];
            if ((*high & 0x7C) == 0x7C) *high ^= 0x40;
        }
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
        {BK_TYPE_Q4_0, 0xcda75176c8f21e7e}, {BK_TYPE_Q4_1, 0xf6fc49f7602a61a9},
        {BK_TYPE_Q5_0, 0x029653867a77a4b9}, {BK_TYPE_Q8_0, 0x9a980d4091384fed},
        {BK_TYPE_Q4_K, 0xd5a811689e61a077}, {BK_TYPE_Q6_K, 0xa39a2a3d0beb084d},
    };
    static uint8_t blocks[N_BLOCKS * MAX_BLOCK_BYTES];
    static float out[N_BLOCKS * MAX_BLOCK + 1];
    for (size_t i = 0; i < BK_ARRAY_LEN(vectors); i++) {
        const bk_quant *q = bk_quant_find(vectors[i].type);
        size_t n = N_BLOCKS * q->block_len;
        random_blocks(q, blocks);
        out[n] = 12345;
        q->dequantize(blocks, out, n);
        assert_true(out[n] == 12345);
        assert_true(fnv1a(out, n) == vectors[i].sum);
    }
}

static void canonical_equals_dequantized(void **state) {
    (void)state;
    static uint8_t blocks[N_BLOCKS * MAX_BLOCK_BYTES];
    static float out[N_BLOCKS * MAX_BLOCK];
    for (size_t t = 0; t < BK_ARRAY_LEN(integer_types); t++) {
        const bk_quant *q = bk_quant_find(integer_types[t]);
        size_t n = N_BLOCKS * q->block_len;
        random_blocks(q, blocks);
        q->dequantize(blocks, out, n);
        for (size_t i = 0; i < n / 32; i++) {
            bk_canon c;
            memset(&c, 0xA5, sizeof c);
            q->unpack(blocks, i, &c);
            if (q->sub == 32) assert_true(c.d[0] == c.d[1]);
            if (!q->has_min) assert_true(c.m == 0);
            for (size_t k = 0; k < 32; k++) {
                assert_true(c.q[k] < 1 << q->bits);
                float w = c.d[k / 16] * (float)(c.q[k] - q->zero) + c.m;
                assert_true(w == out[32 * i + k]);
            }
        }
    }
}

/* Every bit of a block that is not a scale belongs to exactly one weight, with one place value, and
 * each weight has all its bits: nothing is lost, doubled or read from a neighbour. */
static void every_bit_has_one_weight(void **state) {
    (void)state;
    for (size_t t = 0; t < BK_ARRAY_LEN(integer_types); t++) {
        const bk_quant *q = bk_quant_find(integer_types[t]);
        uint8_t block[MAX_BLOCK_BYTES], seen[MAX_BLOCK];
        size_t payload = 0;
        bk_canon base[MAX_BLOCK / 32];
        memset(block, 0, sizeof block);
        memset(seen, 0, sizeof seen);
        for (size_t g = 0; g < q->block_len / 32; g++) q->unpack(block, g, &base[g]);
        for (size_t bit = 0; bit < 8 * q->block_bytes; bit++) {
            size_t changed = 0;
            block[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bk_canon c = {.m = 0};
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
    assert_true(c.d[0] == 0.5f && c.m == -2.0f && c.q[0] == 1 && c.q[16] == 2 && c.q[1] == 0);

    uint8_t q8_0[34] = {0x00, 0x3C, 0x80, 0x7F, 0xFF};
    float w[256];
    bk_quant_find(BK_TYPE_Q8_0)->dequantize(q8_0, w, 32);
    assert_true(w[0] == -128 && w[1] == 127 && w[2] == -1 && w[3] == 0);

    /* Group 5: scale 0x2B = low nibble of byte 9, top of byte 1; min 0x1C likewise of 9 and 5. */
    uint8_t q4_k[144] = {0x00, 0x3C, 0x00, 0x38};
    q4_k[4 + 1] = 2 << 6;
    q4_k[4 + 5] = 1 << 6;
    q4_k[4 + 9] = 0x0B | 0x0C << 4;
    q4_k[16 + 2 * 32 + 7] = 0x90; /* weight 7 of group 5 */
    bk_quant_find(BK_TYPE_Q4_K)->unpack(q4_k, 5, &c);
    assert_true(c.d[0] == 43 && c.d[1] == 43 && c.m == -14 && c.q[7] == 9 && c.q[6] == 0);

    /* The second half's part 3 has scales 14 and 15. */
    uint8_t q6_k[210] = {0};
    q6_k[208 + 1] = 0x3C;
    q6_k[192 + 14] = 3;
    q6_k[192 + 15] = 0x80;
    q6_k[64 + 32 + 20] = 0x50;
    q6_k[128 + 32 + 20] = 0x80;
    bk_quant_find(BK_TYPE_Q6_K)->unpack(q6_k, 7, &c);
    assert_true(c.d[0] == 3 && c.d[1] == -128 && c.q[20] == 0x25 && c.q[21] == 0);
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
        {BK_TYPE_Q8_0, "Q8_0", 32, 34, 128, 32, 8, false},
        {BK_TYPE_Q4_K, "Q4_K", 256, 144, 0, 32, 4, true},
        {BK_TYPE_Q6_K, "Q6_K", 256, 210, 32, 16, 6, false},
    };
    size_t n = 0;
    for (uint32_t type = 0; type < 1000; type++) n += bk_quant_find(type) != NULL;
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
        assert_non_null(q->dequantize);
        assert_int_equal(q->unpack != NULL, wanted[i].bits != 0);
    }
    assert_null(bk_quant_find(UINT32_MAX));
    assert_string_equal(bk_quant_type_name(16), "IQ2_XXS");
    assert_string_equal(bk_quant_type_name(39), "MXFP4");
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
    bk_quant_find(BK_TYPE_F32)->dequantize(bytes + 1, w, 2);
    assert_true(w[0] == 1.0f && w[1] == -10.0f);
    bk_quant_find(BK_TYPE_F16)->dequantize(bytes + 9, w, 2);
    assert_true(w[0] == 1.0f && w[1] == -2.0f);
    bk_quant_find(BK_TYPE_BF16)->dequantize(bytes + 3, w, 1);
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
