#include <string.h>

#include "api/api.h"
#include "brisk_compress.h"
#include "measure/sparse.h"

_Static_assert((int)BRISK_SPARSE_FORMS == (int)BK_FORMS &&
                   (int)BRISK_SPARSE_DENSITIES == (int)BK_SPARSE_DENSITIES &&
                   (int)BRISK_SPARSE_COLUMNS == (int)BK_SPARSE_COLUMNS,
               "forms agree");

BK_API void brisk_sparse_test_default(brisk_sparse_test *test) {
    *test = (brisk_sparse_test){.m = 1024,
                                .k = 2048,
                                .densities = {0.1, 0.25, 0.5, 0.75, 0.9, 1},
                                .n_densities = 6,
                                .columns = {1, 4, 16, 128},
                                .n_columns = 4,
                                .threads = bk_cpu_default_threads(),
                                .rounds = 3};
}

static void show_row(const bk_sparse_row *row, void *user) {
    const brisk_sparse_test *t = user;
    const brisk_sparse_row out = {(brisk_sparse_form)row->form,
                                  row->density,
                                  row->columns,
                                  row->cold,
                                  row->seconds,
                                  row->bytes};
    t->row(&out, t->user);
}

BK_API brisk_status brisk_bench_sparse(const brisk_sparse_test *test, brisk_error *err) {
    if (!test || !test->row) return bk_api_null(test ? "row" : "test", err);
    bk_sparse_test t = {.m = test->m,
                        .k = test->k,
                        .n_densities = test->n_densities,
                        .n_columns = test->n_columns,
                        .threads = test->threads,
                        .rounds = test->rounds,
                        .row = show_row,
                        .user = (void *)(uintptr_t)test,
                        .cancel = test->cancel};
    bk_error e;
    memcpy(t.densities, test->densities, sizeof t.densities);
    memcpy(t.columns, test->columns, sizeof t.columns);
    bk_status st = bk_cpu_level_choose(test->cpu_level, &t.level, &e);
    if (!st) st = bk_sparse_bench(&t, &e);
    return bk_api_result(st, &e, err);
}
