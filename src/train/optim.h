/* The optimiser's step over all weights. AdamW: Loshchilov and Hutter 2019 (arXiv 1711.05101); clipping
 * of the global norm: Pascanu et al. 2013. */
#ifndef BRISK_TRAIN_OPTIM_H
#define BRISK_TRAIN_OPTIM_H

#include "train/params.h"
#include "train/train.h"

/* Of step 0, 1, ...: a linear warm-up, then half a cosine down to min_lr in the last step. */
double bk_optim_lr(const bk_train_options *o, int step);

/* Takes what has gathered in the gradients (divided by nothing) and leaves zeros there. *norm is that of
 * all gradients together, before clipping. FORMAT when it is not a number: then the weights are as they
 * were. */
bk_status bk_optim_step(const bk_train_options *o, bk_params *p, int step, double *norm,
                        bk_error *err);

#endif
