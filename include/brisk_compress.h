/* brisk_compress.h: smaller models. Weights are rounded to fewer bits or left out, and what that costs
 * is measured.
 *
 * Conventions as in brisk.h. */
#ifndef BRISK_COMPRESS_H
#define BRISK_COMPRESS_H

#include "brisk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rounding weights ----------------------------------------------------------------------------- */

/* ---- Quantising a model --------------------------------------------------------------------------- */

/* ---- Pruning a model ------------------------------------------------------------------------------ */

/* ---- Sparse matrices ------------------------------------------------------------------------------ */

/* ---- Comparing recipes ---------------------------------------------------------------------------- */

#ifdef __cplusplus
}
#endif
#endif
