#include "brisk_matrix.h"

#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "brisk_tools.h"
#include "device/matrix.h"
#include "measure/matmul.h"

static bk_matrix *inner(brisk_matrix *m) { return (bk_matrix *)m; }

static bk_status create(const char *type, const float *rows, size_t n_rows, size_t k,
                        brisk_matrix_options o, bk_matrix **m, bk_error *err) {
    const bk_quant *q;
    bk_cpu_level level;
    bk_status st = bk_quant_named(type, &q, err);
    if (!st) st = bk_cpu_level_choose(o.cpu_level, &level, err);
    if (st) return st;
    int threads = o.threads ? o.threads : bk_cpu_default_threads();
    return bk_matrix_create(q, rows, n_rows, k, level, threads, m, err);
}

BK_API brisk_status brisk_matrix_create(const char *type, const float *rows, size_t n_rows,
                                        size_t k, const brisk_matrix_options *options,
                                        brisk_matrix **matrix, brisk_error *err) {
    if (!matrix) return bk_api_null("matrix", err);
    *matrix = NULL;
    if (!type || !rows) return bk_api_null(type ? "rows" : "type", err);
    bk_matrix *m = NULL;
    bk_error e;
    brisk_matrix_options o = {0};
    if (options) o = *options;
    bk_status st = create(type, rows, n_rows, k, o, &m, &e);
    *matrix = (brisk_matrix *)m;
    return bk_api_result(st, &e, err);
}

BK_API void brisk_matrix_destroy(brisk_matrix **matrix) {
    if (!matrix || !*matrix) return;
    bk_matrix *m = inner(*matrix);
    *matrix = NULL;
    bk_matrix_destroy(&m);
}

BK_API brisk_status brisk_matrix_multiply(brisk_matrix *matrix, const float *x, size_t n,
                                          float *out, brisk_error *err) {
    if (!matrix || !x || !out) return bk_api_null(!matrix ? "matrix" : x ? "out" : "x", err);
    bk_error e;
    return bk_api_result(bk_matrix_multiply(inner(matrix), x, n, out, &e), &e, err);
}

BK_API brisk_status brisk_matrix_row(brisk_matrix *matrix, size_t r, float *row, brisk_error *err) {
    if (!matrix || !row) return bk_api_null(matrix ? "row" : "matrix", err);
    bk_error e;
    return bk_api_result(bk_matrix_row(inner(matrix), r, row, &e), &e, err);
}

BK_API void brisk_matrix_get_info(const brisk_matrix *matrix, brisk_matrix_info *info) {
    const bk_matrix *m = (const bk_matrix *)matrix;
    *info = (brisk_matrix_info){.type = bk_weight_type(m->weight)->name,
                                .cpu_level = bk_cpu_level_name(m->device->level),
                                .threads = m->device->threads,
                                .n_rows = m->n_rows,
                                .k = m->k,
                                .bytes = bk_weight_bytes(m->weight)};
}

/* ---- Speed ----------------------------------------------------------------------------------------- */

_Static_assert((int)BRISK_MATMUL_OPENBLAS == (int)BK_MATMUL_OPENBLAS &&
                   (int)BRISK_MATMUL_THREADS == (int)BK_MATMUL_THREADS,
               "ways agree");

BK_API void brisk_matmul_default(brisk_matmul_test *test) {
    *test = (brisk_matmul_test){.type = "f32",
                                .m = 1024,
                                .n = 1024,
                                .k = 1024,
                                .threads = {1, bk_cpu_default_threads()},
                                .rounds = 5};
    test->n_threads = test->threads[1] > 1 ? 2 : 1;
}

static void copy_result(const bk_matmul_result *r, const bk_matmul_test *t,
                        brisk_matmul_result *out) {
    *out = (brisk_matmul_result){.n_rows = r->n_rows,
                                 .cpu_level = bk_cpu_level_name(t->level),
                                 .integer = t->type->bits != 0};
    for (int i = 0; i < r->n_rows; i++) {
        const bk_matmul_row *row = &r->rows[i];
        out->rows[i] = (brisk_matmul_row){(brisk_matmul_way)row->way,
                                          row->threads,
                                          row->vectors,
                                          row->best,
                                          row->median,
                                          row->difference};
    }
    bk_str_printable(out->peer, sizeof out->peer, r->peer, strlen(r->peer));
}

BK_API brisk_status brisk_bench_matmul(const brisk_matmul_test *test, brisk_matmul_result *result,
                                       brisk_error *err) {
    if (!test || !result) return bk_api_null(test ? "result" : "test", err);
    if (!test->type) return bk_api_null("type", err);
    bk_matmul_test t = {.m = test->m,
                        .n = test->n,
                        .k = test->k,
                        .n_threads = test->n_threads,
                        .rounds = test->rounds,
                        .peer = test->peer ? test->peer : "libopenblas.so.0",
                        .cancel = test->cancel};
    bk_matmul_result r = {0};
    bk_error e;
    *result = (brisk_matmul_result){0};
    memcpy(t.threads, test->threads, sizeof t.threads);
    bk_status st = bk_quant_named(test->type, &t.type, &e);
    if (!st) st = bk_cpu_level_choose(test->cpu_level, &t.level, &e);
    if (!st) st = bk_matmul_bench(&t, &r, &e);
    if (!st) copy_result(&r, &t, result);
    return bk_api_result(st, &e, err);
}
