#include "compress/sparsify.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "compress/repair.h"
#include "compress/sparsify_internal.h"

enum { MOST_GROUP = 256, TILE_ROWS = 16, TILE_COLS = 4 };
static const float DAMPING = 0.01f;

/* ---- Arguments --------------------------------------------------------------------------------------- */

static bk_status check_pattern(bk_sparsify_rule *r, size_t k, bk_error *err) {
    if (r->pattern == BK_PATTERN_TILES) {
        if (!r->tile_rows) r->tile_rows = TILE_ROWS;
        if (!r->tile_cols) r->tile_cols = TILE_COLS;
        if (r->tile_rows < 1 || r->tile_rows > MOST_GROUP || r->tile_cols < 1 ||
            r->tile_cols > MOST_GROUP)
            return bk_fail(err, BK_ERR_INVALID, "tiles of %d x %d found, 1 to %d wanted",
                           r->tile_rows, r->tile_cols, MOST_GROUP);
    }
    if (r->pattern != BK_PATTERN_NM) return bk_check_range("ratio", r->ratio, 0, 1, err);
    if (r->m < 1 || r->m > MOST_GROUP || r->n < 0 || r->n > r->m)
        return bk_fail(err, BK_ERR_INVALID, "%d:%d found, n:m with n <= m <= %d wanted", r->n, r->m,
                       MOST_GROUP);
    if (k % (size_t)r->m)
        return bk_fail(err, BK_ERR_INVALID,
                       "rows of %zu weights found, %d:%d takes multiples of %d", k, r->n, r->m,
                       r->m);
    return BK_OK;
}

static bk_status check(bk_sparsify_rule *r, const float *w, size_t rows, size_t k,
                       const double *squares, const float *gram, bk_error *err) {
    bk_status st = check_pattern(r, k, err);
    if (r->damping <= 0) r->damping = DAMPING;
    if (!st) st = bk_check_finite(w, rows * k, "weights", err);
    if (st) return st;
    if (r->score == BK_SCORE_WANDA && !squares)
        return bk_fail(err, BK_ERR_INVALID, "no statistics of the inputs: calibration text wanted");
    if ((r->score == BK_SCORE_OBS || r->repair) && !gram)
        return bk_fail(err, BK_ERR_INVALID,
                       "no Gram matrix of the inputs: calibration text wanted");
    for (size_t i = 0; r->score == BK_SCORE_WANDA && i < k; i++)
        if (!isfinite(squares[i]) || squares[i] < 0)
            return bk_fail(err, BK_ERR_INVALID, "input %zu has a sum of squares of %g", i + 1,
                           squares[i]);
    return gram ? bk_check_finite(gram, k * k, "values of a Gram matrix", err) : BK_OK;
}

/* ---- Scores of the matrix as it is -------------------------------------------------------------------- */

static bk_status drop_least(bk_nn *nn, float *w, size_t rows, size_t k, const double *squares,
                            const bk_sparsify_rule *rule, bk_error *err) {
    float *score = bk_alloc(rows * k, sizeof *score), *norm = bk_alloc(k, sizeof *norm);
    uint8_t *gone = bk_alloc(rows * k, 1);
    bk_status st = BK_OK;
    if (!score || !norm || !gone)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory to prune %zu rows of %zu", rows, k);
    for (size_t j = 0; !st && j < k; j++)
        norm[j] = rule->score == BK_SCORE_WANDA ? (float)sqrt(squares[j]) : 1;
    for (size_t i = 0; !st && i < rows * k; i++) score[i] = fabsf(w[i]) * norm[i % k];
    if (!st) st = bk_choose(nn, &(bk_choice){rule, rows, k, 0, k, score, gone}, err);
    for (size_t i = 0; !st && i < rows * k; i++)
        if (gone[i]) w[i] = 0;
    bk_free(score);
    bk_free(norm);
    bk_free(gone);
    return st;
}

/* ---- One matrix -------------------------------------------------------------------------------------- */

static bk_status prune(bk_nn *nn, float *w, size_t rows, size_t k, const double *squares,
                       const float *gram, const bk_sparsify_rule *rule, const float *before,
                       bk_error *err) {
    bk_status st = rule->score == BK_SCORE_OBS ? bk_sparsify_obs(nn, w, rows, k, gram, rule, err)
                                               : drop_least(nn, w, rows, k, squares, rule, err);
    size_t shared = rule->pattern == BK_PATTERN_TILES ? (size_t)rule->tile_rows : 1;
    if (!st && rule->repair)
        st = bk_repair_mask(nn, before, rows, k, gram, shared, rule->damping, w, err);
    return st;
}

static bk_status tell(bk_nn *nn, const float *before, const float *w, size_t rows, size_t k,
                      const float *gram, bk_sparsify_result *result, bk_error *err) {
    *result = (bk_sparsify_result){.error = -1};
    for (size_t i = 0; i < rows * k; i++) result->zeros += w[i] == 0;
    if (gram) result->error = bk_output_error(nn, before, w, rows, k, gram);
    if (isinf(result->error)) return bk_fail(err, BK_ERR_NOMEM, "no memory to compare outputs");
    return nn->ops->finish(nn, err);
}

bk_status bk_sparsify_matrix(bk_nn *nn, float *w, size_t rows, size_t k, const double *squares,
                             const float *gram, const bk_sparsify_rule *given,
                             bk_sparsify_result *result, bk_error *err) {
    bk_sparsify_rule rule = *given;
    float *before = NULL;
    bk_status st = check(&rule, w, rows, k, squares, gram, err);
    if (st) return st;
    if (rule.repair || (result && gram)) {
        before = bk_alloc(rows * k, sizeof *before);
        if (!before) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu rows of %zu", rows, k);
        memcpy(before, w, rows * k * sizeof *before);
    }
    st = prune(nn, w, rows, k, squares, gram, &rule, before, err);
    if (!st && result) st = tell(nn, before, w, rows, k, gram, result, err);
    bk_free(before);
    return st;
}
