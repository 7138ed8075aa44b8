/* Sparse matrices as files have them: there and back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "format/gguf_sparse.h"

static const bk_quant *q4(void) { return bk_quant_find(BK_TYPE_Q4_0); }

static size_t row_bytes(const bk_quant *type, size_t k) {
    return k / type->block_len * type->block_bytes;
}

/* Rows of which a share of the tiles, or of the single weights, is left. */
static uint8_t *make_rows(bk_rng *rng, const bk_quant *type, size_t n_rows, size_t k, bool tiles,
                          double density) {
    float *x = bk_alloc_zero(n_rows * k, sizeof *x);
    bool *keep = bk_alloc_zero(bk_div_up(n_rows, 16) * k / 4, sizeof *keep);
    uint8_t *rows = bk_alloc(n_rows, row_bytes(type, k));
    assert_non_null(x);
    assert_non_null(keep);
    assert_non_null(rows);
    for (size_t i = 0; i < bk_div_up(n_rows, 16) * k / 4; i++) keep[i] = bk_rng_unit(rng) < density;
    for (size_t i = 0; i < n_rows * k; i++) {
        bool kept = tiles ? keep[i / k / 16 * (k / 4) + i % k / 4] : bk_rng_unit(rng) < density;
        if (kept) x[i] = (float)(2 * bk_rng_unit(rng) - 1);
    }
    for (size_t r = 0; r < n_rows; r++) type->quantize(x + r * k, rows + r * row_bytes(type, k), k);
    bk_free(keep);
    bk_free(x);
    return rows;
}

static void there_and_back(bk_sparse_kind kind, const bk_quant *type, size_t n_rows, size_t k,
                           double density, bk_rng *rng) {
    bool tiles = kind == BK_SPARSE_TILES;
    uint8_t *rows = make_rows(rng, type, n_rows, k, tiles, density);
    size_t bytes = n_rows * row_bytes(type, k);
    uint8_t *got = bk_alloc(bytes, 1);
    bk_sparse s;
    bk_error err;
    assert_non_null(got);
    assert_int_equal(bk_sparse_encode(kind, type, rows, n_rows, k, &s, &err), BK_OK);
    bk_sparse again = s;
    bk_sparse_measure(&again);
    assert_int_equal(again.scales_bytes, s.scales_bytes);
    assert_int_equal(again.values_bytes, s.values_bytes);
    assert_int_equal(bk_sparse_decode(&s, got, &err), BK_OK);
    assert_memory_equal(got, rows, bytes);
    if (n_rows % 16 == 0 && k >= 256)
        assert_true(bk_sparse_density(&s) > density - 0.1 &&
                    bk_sparse_density(&s) <= density + 0.1);
    bk_free((void *)(uintptr_t)s.index);
    bk_free(got);
    bk_free(rows);
}

static void test_encode(void **state) {
    static const double densities[] = {0, 0.03, 0.5, 1};
    const bk_quant *q8 = bk_quant_find(BK_TYPE_Q8_0);
    bk_rng rng;
    (void)state;
    bk_rng_seed(&rng, 1, 1);
    for (size_t d = 0; d < 4; d++) {
        for (size_t n = 1; n <= 65; n += n < 18 ? 1 : 23) {
            there_and_back(BK_SPARSE_TILES, q4(), n, 32 * (1 + n % 5), densities[d], &rng);
            there_and_back(BK_SPARSE_TILES, q8, n, 32 * (1 + n % 3), densities[d], &rng);
            there_and_back(BK_SPARSE_BITS, q4(), n, 32 * (1 + n % 4), densities[d], &rng);
        }
        there_and_back(BK_SPARSE_TILES, q4(), 64, 1024, densities[d], &rng);
        there_and_back(BK_SPARSE_BITS, q4(), 64, 1024, densities[d], &rng);
    }
}

/* A scale that is no number makes its weights so: they are kept, whatever their quants. */
static void test_not_numbers(void **state) {
    uint8_t rows[2 * 18] = {0}, got[2 * 18];
    bk_sparse s;
    bk_error err;
    (void)state;
    memset(rows, 0x88, sizeof rows); /* quants of 0 */
    rows[0] = 0, rows[1] = 0x7c, rows[18] = 0, rows[19] = 0x80;
    for (int kind = BK_SPARSE_TILES; kind <= BK_SPARSE_BITS; kind++) {
        assert_int_equal(bk_sparse_encode((bk_sparse_kind)kind, q4(), rows, 2, 32, &s, &err), 0);
        assert_int_equal(bk_sparse_decode(&s, got, &err), BK_OK);
        assert_memory_equal(got, rows, sizeof rows);
        bk_free((void *)(uintptr_t)s.index);
    }
    assert_int_equal(bk_sparse_encode(BK_SPARSE_BITS, bk_quant_find(BK_TYPE_Q8_0), rows, 1, 32, &s,
                                      &err),
                     BK_ERR_INVALID);
    assert_int_equal(bk_sparse_encode(BK_SPARSE_TILES, q4(), rows, 1, 48, &s, &err),
                     BK_ERR_INVALID);
}

/* An index that grew since it was measured reads nothing past the end. */
static void test_changed(void **state) {
    bk_rng rng;
    bk_sparse s;
    bk_error err;
    (void)state;
    bk_rng_seed(&rng, 2, 1);
    for (int kind = BK_SPARSE_TILES; kind <= BK_SPARSE_BITS; kind++) {
        uint8_t *rows = make_rows(&rng, q4(), 16, 256, true, 0.4);
        assert_int_equal(bk_sparse_encode((bk_sparse_kind)kind, q4(), rows, 16, 256, &s, &err), 0);
        memset((void *)(uintptr_t)s.index, 0xff, s.index_bytes);
        assert_int_equal(bk_sparse_decode(&s, rows, &err), BK_ERR_IO);
        bk_free((void *)(uintptr_t)s.index);
        bk_free(rows);
    }
}

/* ---- Files ---------------------------------------------------------------------------------------- */

enum { ROWS = 40, K = 128 };

typedef struct folder {
    char path[64], file[96];
    uint8_t *rows, *dense; /* a matrix with holes, and one without */
} folder;

static int set_up(void **state) {
    static folder f;
    bk_rng rng;
    bk_rng_seed(&rng, 3, 1);
    snprintf(f.path, sizeof f.path, "/tmp/brisk-sparse-XXXXXX");
    assert_non_null(mkdtemp(f.path));
    snprintf(f.file, sizeof f.file, "%s/m.gguf", f.path);
    f.rows = make_rows(&rng, q4(), ROWS, K, true, 0.5);
    f.dense = make_rows(&rng, q4(), ROWS, K, true, 1);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    folder *f = *state;
    bk_free(f->rows);
    bk_free(f->dense);
    unlink(f->file);
    return rmdir(f->path);
}

static const char *const matrix = "blk.0.ffn_down.weight", *const full = "blk.0.ffn_up.weight";

static bk_gguf *make_model(const folder *f) {
    static const float one[4] = {1, 2, 3, 4};
    uint64_t ne[2] = {K, ROWS}, n = 4;
    bk_gguf *g = NULL;
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_u32(b, "brisk.train.step", 7);
    bk_gguf_builder_tensor(b, matrix, BK_TYPE_Q4_0, 2, ne, f->rows);
    bk_gguf_builder_tensor(b, full, BK_TYPE_Q4_0, 2, ne, f->dense);
    bk_gguf_builder_tensor(b, "norm", BK_TYPE_F32, 1, &n, (const uint8_t *)one);
    assert_int_equal(bk_gguf_builder_finish(&b, &g, NULL), BK_OK);
    return g;
}

static void test_file(void **state) {
    const folder *f = *state;
    const uint8_t *data;
    bk_error err;
    for (int kind = 0; kind <= BK_SPARSE_BITS; kind++) {
        bk_gguf *from = make_model(f), *g = NULL;
        bk_gguf_sparsify_options o = {.kind = (bk_sparse_kind)kind, .most = 0.99};
        size_t n;
        assert_int_equal(bk_gguf_sparsify(from, &o, &g, &n, &err), BK_OK);
        assert_int_equal(n, 1);
        assert_null(bk_gguf_find_tensor(g, matrix));
        assert_non_null(bk_gguf_find_tensor(g, "blk.0.ffn_down.weight.index"));
        assert_int_equal(bk_gguf_write(g, f->file, NULL, &err), BK_OK);
        bk_gguf_destroy(&g);
        bk_gguf_destroy(&from);
        assert_int_equal(bk_gguf_open(f->file, &g, &err), BK_OK);
        assert_int_equal(bk_gguf_n_tensors(g), 3);
        const bk_gguf_tensor *t = bk_gguf_find_tensor(g, matrix);
        assert_non_null(t);
        assert_int_equal(bk_gguf_sparse_of(t)->kind, kind ? kind : BK_SPARSE_TILES);
        assert_int_equal(t->ne[0], K);
        assert_int_equal(t->ne[1], ROWS);
        assert_int_equal(bk_gguf_read(g, t, &data, &err), BK_OK);
        assert_memory_equal(data, f->rows, t->bytes);
        bk_gguf_release(g, t, data);
        assert_null(bk_gguf_sparse_of(bk_gguf_find_tensor(g, full)));
        assert_null(bk_gguf_find(g, "brisk.extensions"));
        assert_null(bk_gguf_find(g, "brisk.sparse.blk.0.ffn_down.weight"));
        assert_non_null(bk_gguf_find(g, "brisk.train.step"));
        bk_gguf_destroy(&g);
    }
}

/* One thing of a good file is another; what opening it says. */
static void refused(const folder *f, const char *drop, const int32_t shape[4], const char *way,
                    const char *said) {
    bk_gguf *from = make_model(f), *good = NULL, *g = NULL;
    bk_gguf_sparsify_options o = {.most = 0.99};
    bk_error err;
    bk_str ways[2] = {bk_str_from(way ? way : "sparse"), BK_STR("sparse")};
    assert_int_equal(bk_gguf_sparsify(from, &o, &good, NULL, &err), BK_OK);
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_keys_of(b, good);
    if (shape) bk_gguf_builder_i32s(b, "brisk.sparse.blk.0.ffn_down.weight", shape, 4);
    if (way) bk_gguf_builder_strs(b, "brisk.extensions", ways, 2);
    for (size_t i = 0; i < bk_gguf_n_tensors(good); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(good, i);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.data);
        if (drop && strstr(name, drop)) continue;
        bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
    }
    assert_int_equal(bk_gguf_builder_finish(&b, &g, &err), BK_OK);
    assert_int_equal(bk_gguf_write(g, f->file, NULL, &err), BK_OK);
    bk_gguf_destroy(&g);
    bk_gguf_destroy(&good);
    bk_gguf_destroy(&from);
    assert_int_not_equal(bk_gguf_open(f->file, &g, &err), BK_OK);
    assert_null(g);
    if (!strstr(err.text, said)) fail_msg("'%s' does not say '%s'", err.text, said);
}

static void test_refused(void **state) {
    const folder *f = *state;
    refused(f, ".scales", NULL, NULL, "its part .scales is missing");
    refused(f, ".values", NULL, NULL, "its part .values is missing");
    refused(f, NULL, (int32_t[]){3, 2, ROWS, K}, NULL, "wanted a kind");
    refused(f, NULL, (int32_t[]){1, 3, ROWS, K}, NULL, "wanted a kind");
    refused(f, NULL, (int32_t[]){1, 2, ROWS, -K}, NULL, "wanted a kind");
    refused(f, NULL, (int32_t[]){1, 2, ROWS, K + 1}, NULL, "blocks of 32");
    refused(f, NULL, (int32_t[]){1, 2, INT32_MAX, K}, NULL, "at most");
    refused(f, NULL, (int32_t[]){1, 2, ROWS + 16, K}, NULL, ".index': 12 bytes found, 16 wanted");
    refused(f, NULL, (int32_t[]){1, 8, ROWS, K}, NULL, "wanted");
    refused(f, NULL, NULL, "sparser", "'sparser' found");
    refused(f, NULL, NULL, "sparse", "stands twice");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),  cmocka_unit_test(test_not_numbers),
        cmocka_unit_test(test_changed), cmocka_unit_test(test_file),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
