/* What is left of a matrix after pruning, changed so that its outputs come closest to what they were:
 * least squares over the calibration text, in closed form.
 *
 * With the Gram matrix G = sum of x x^T of the matrix's inputs, the expected error of the output is
 * |(W - W') X|^2 = tr((W - W') G (W - W')^T). All functions add `damping` of G's mean diagonal value to
 * the diagonal (0.01 is usual): H = G + lambda I, which keeps what the text says nothing about as it
 * was. They are exact where they say so up to float (compress/linalg.h). */
#ifndef BRISK_COMPRESS_REPAIR_H
#define BRISK_COMPRESS_REPAIR_H

#include "compress/linalg.h"

/* Only the inputs kept[n_kept] (ascending) stay, for all rows: out[rows][n_kept] =
 *   W H[:,S] H[S,S]^-1
 * which is how neurons, channels and heads go (Chen et al. 2023; FASP, Hu et al. 2025). w[rows][k],
 * gram[k][k]; out may not be w. When H[S,S] is singular as floats are, tries ten and a hundred times
 * the damping. INVALID (kept is empty or out of order, something is not finite), NOMEM. */
bk_status bk_repair_columns(bk_nn *nn, const float *w, size_t rows, size_t k, const float *gram,
                            const int32_t *kept, size_t n_kept, float damping, float *out,
                            bk_error *err);

/* The zeros of pruned[rows][k] stay; its other values become those that, together, miss the outputs of
 * w[rows][k] least. `shared` rows that follow one another have their zeros in the same places (16 in
 * tiles of 16 rows), or nearly: a value that is not zero in all of them may become so. Then each group is
 * solved exactly as above. With 1, all rows are solved side by side by conjugate gradients from what
 * `pruned` is, each with its own zeros (as the last step of ALPS, Meng et al. 2024), until nearly all is
 * gained that can be, or after 24 steps: each is one matrix product, while a factor for every row would
 * cost as much as k / 48 of them, in products too small to be fast. INVALID, NOMEM. */
bk_status bk_repair_mask(bk_nn *nn, const float *w, size_t rows, size_t k, const float *gram,
                         size_t shared, float damping, float *pruned, bk_error *err);

/* The share of the outputs' energy that is lost: tr((W - W') G (W - W')^T) / tr(W G W^T), 0 when there
 * is none to lose; INFINITY with the failure kept for nn's next finish when memory is short. */
double bk_output_error(bk_nn *nn, const float *w, const float *pruned, size_t rows, size_t k,
                       const float *gram);

#endif
