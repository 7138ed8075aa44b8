/* Packed weights read back as the file's own dequantiser gives them. */
#include <math.h>
#include <string.h>

#include "check.h"

static void row_case(check *c, const bk_quant *t, size_t n_rows, size_t k, check_weights kind) {
    const uint8_t *blocks = check_blocks(c, kind, t, n_rows, k);
    size_t row_bytes = k / t->block_len * t->block_bytes;
    bk_packed p;
    if (!bk_packed_init(&p, t, n_rows, k)) {
        check_fail(c, "init refuses %zu x %zu", n_rows, k);
        return;
    }
    p.data = check_mem(bk_packed_bytes(&p));
    /* In two pieces, the later first: groups are independent. */
    size_t half = p.n_groups / 2;
    bk_pack_groups(&p, blocks, half, p.n_groups - half);
    bk_pack_groups(&p, blocks, 0, half);
    float *got = check_floats(k), *want = check_floats(k);
    for (size_t r = 0; r < n_rows; r++) {
        bk_packed_row(&p, r, got);
        bk_quant_dequantize(t, blocks + r * row_bytes, want, k);
        if (!check_same_floats(c, "row", got, want, k)) return;
    }
    /* Rows that fill up the last group are zero. */
    for (size_t r = n_rows; r < p.n_groups * BK_GROUP_ROWS; r++) {
        for (size_t i = 0; i < k; i++) {
            float w = 0;
            if (t->bits) {
                bk_canon b;
                bk_packed_block(&p, r, i / 32, &b);
                w = b.d[i % 32 / 16] != 0 || b.m[i % 32 / 16] != 0;
            } else {
                w = bk_packed_float(&p, r, i);
            }
            if (w != 0) {
                check_fail(c, "row %zu of %zu is not zero", r, n_rows);
                return;
            }
        }
    }
    check_release();
}

static void packed_row(check *c, int type) {
    const bk_quant *t = check_type((size_t)type);
    if (!c->portable) return; /* the same code at every level */
    for (size_t n = 1; n <= 40; n++)
        row_case(c, t, n, t->bits ? t->block_len * (1 + n % 3) : n,
                 (check_weights)(n % CHECK_WEIGHTS));
    for (size_t k = 1; k <= 18; k++)
        row_case(c, t, 17, t->bits ? t->block_len * k : k * 7, (check_weights)(k % CHECK_WEIGHTS));
}

static void packed_init(check *c, int arg) {
    (void)arg;
    bk_packed p;
    const struct {
        bk_type type;
        size_t n_rows, k;
        bool ok;
    } cases[] = {
        {BK_TYPE_Q4_0, 1, 32, true},
        {BK_TYPE_Q4_0, 1, 33, false},
        {BK_TYPE_Q4_0, 0, 32, false},
        {BK_TYPE_Q4_0, 1, 0, false},
        {BK_TYPE_Q4_K, 3, 288, false},
        {BK_TYPE_Q4_K, 3, 512, true},
        {BK_TYPE_Q4_0, SIZE_MAX, 32, false},
        {BK_TYPE_Q4_0, 1, SIZE_MAX / 32 * 32, false},
        {BK_TYPE_F32, SIZE_MAX / 64, 1000, false},
        {BK_TYPE_F16, 5, 7, true},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        const bk_quant *t = bk_quant_find((uint32_t)cases[i].type);
        if (bk_packed_init(&p, t, cases[i].n_rows, cases[i].k) != cases[i].ok)
            check_fail(c, "%s %zu x %zu: want %s", t->name, cases[i].n_rows, cases[i].k,
                       cases[i].ok ? "accepted" : "refused");
        else if (cases[i].ok && (p.group_bytes % 64 != 0 || p.scale_bytes % 64 != 0))
            check_fail(c, "%s: groups of %zu bytes are not whole lines", t->name, p.group_bytes);
    }
    bk_quant odd = *bk_quant_find(BK_TYPE_Q4_0); /* nibbles, but with a zero that no kernel has */
    odd.zero = 4;
    if (bk_packed_init(&p, &odd, 1, 32)) check_fail(c, "accepts a format without a plan");
}

static const check_test tests[] = {
    {"packed/init", packed_init, 0},
    {"packed/", packed_row, CHECK_EACH_TYPE},
};
const check_family check_packed_family = {tests, BK_ARRAY_LEN(tests), NULL};
