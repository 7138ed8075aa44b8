#include "brisk_matrix.h"

#include <strings.h>

#include "api/api.h"
#include "device/matrix.h"

/* Also what is not quantised to: the caller's error names the format then. */
static const bk_quant *find_type(const char *name) {
    for (uint32_t i = 0; i < 64; i++) {
        const bk_quant *q = bk_quant_find(i);
        if (q && strcasecmp(q->name, name) == 0) return q;
    }
    return NULL;
}

static bk_matrix *inner(brisk_matrix *m) { return (bk_matrix *)m; }

static bk_status create(const char *type, const float *rows, size_t n_rows, size_t k,
                        brisk_matrix_options o, bk_matrix **m, bk_error *err) {
    const bk_quant *q = find_type(type);
    bk_cpu_level level;
    if (!q)
        return bk_fail(err, BK_ERR_INVALID,
                       "type '%.40s' found; f32, f16, bf16, q8_0 or q4_0 wanted", type);
    bk_status st = bk_cpu_level_choose(o.cpu_level, &level, err);
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
