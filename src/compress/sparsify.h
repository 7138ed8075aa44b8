/* Matrices with zeros: which weights go, and what that makes of the others.
 *
 * Scores say what a weight w of input j is worth, from the statistics of its inputs (compress/stats.h):
 *   magnitude  |w|
 *   wanda      |w| * ||x_j||                        (Sun et al. 2024, arXiv 2306.11695)
 *   obs        |w| / U_jj, U^T U = H^-1, H = X X^T  (Frantar and Alistarh 2023, arXiv 2301.00774), of
 *              weights as they are after those before them went: "sparsegpt"
 * Patterns say among which weights the ones of least score go, of equal ones the first:
 *   layer      of the whole matrix
 *   row        of each row as many
 *   nm         of each m weights of a row, n stay
 *   tiles      tiles of tile_rows x tile_cols, by the sum of their squared scores; of each strip of
 *              tile_rows rows as many, so that threads have the same to do
 * Any score goes with any pattern. With obs, blocks of 128 columns are chosen from one after the other,
 * each with the same share, and after each the columns behind take over what was lost. */
#ifndef BRISK_COMPRESS_SPARSIFY_H
#define BRISK_COMPRESS_SPARSIFY_H

#include "device/nn.h"

typedef enum bk_score_kind { BK_SCORE_MAGNITUDE, BK_SCORE_WANDA, BK_SCORE_OBS } bk_score_kind;
typedef enum bk_pattern {
    BK_PATTERN_LAYER,
    BK_PATTERN_ROW,
    BK_PATTERN_NM,
    BK_PATTERN_TILES
} bk_pattern;

typedef struct bk_sparsify_rule {
    bk_score_kind score;
    bk_pattern pattern;
    double ratio;             /* of the weights that go, 0..1, rounded to whole ones; not for nm */
    int n, m;                 /* nm: 0 <= n <= m <= 256 */
    int tile_rows, tile_cols; /* 0: 16 and 4; at most 256 */
    bool repair;              /* what stays is then fitted (bk_repair_mask) */
    float damping;            /* 0: 0.01 */
} bk_sparsify_rule;

typedef struct bk_sparsify_result {
    size_t zeros;
    double
        error; /* share of the output's energy that is lost (bk_output_error); -1: no Gram matrix */
} bk_sparsify_result;

/* squares[k]: sums of x_j^2, wanted by wanda; gram[k][k], wanted by obs and by repair. Either may be
 * NULL where it is not. `nn`: the CPU's device. result may be NULL. INVALID (a rule out of range or
 * without its statistics, rows that are no multiple of m, something that is not finite), NOMEM; w is
 * spoiled then. Equal bits on any number of threads. */
bk_status bk_sparsify_matrix(bk_nn *nn, float *w, size_t rows, size_t k, const double *squares,
                             const float *gram, const bk_sparsify_rule *rule,
                             bk_sparsify_result *result, bk_error *err);

#endif
