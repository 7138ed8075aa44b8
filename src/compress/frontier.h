/* Who is beaten by whom, when speed and quality are both wanted. */
#ifndef BRISK_COMPRESS_FRONTIER_H
#define BRISK_COMPRESS_FRONTIER_H

#include "base/base.h"

enum { BK_FRONTIER_MOST = 64 };

typedef struct bk_point {
    double speed;  /* as a multiple of anything, above 0 */
    double spread; /* of the speed, as a share of it */
    double loss;   /* what quality is lost: a divergence, 0 or more */
    bool dense;    /* nothing left out: a rival that any other must beat */
} bk_point;

/* What dense points reach, on the line between two of them: a mixture of both, tensor by tensor, takes a
 * mean of their times and costs about the same mean of their losses. */
typedef struct bk_rival {
    int fast, slow; /* points; equal: that one alone; -1: no dense point reaches it */
    double value;
} bk_rival;

typedef struct bk_judgement {
    bk_rival equal_speed;   /* value: the loss at the point's speed */
    bk_rival equal_quality; /* value: the speed at the point's loss */
    bool
        dominated; /* another point is as fast and as good; or the point is not dense, and what dense
                       points reach at its speed is better */
    int by;        /* the other point; -1: that line, or none */
    bool tie;      /* it would be the other way round with a speed within the spread */
} bk_judgement;

/* Judges points[i] among points[n], 1..BK_FRONTIER_MOST. */
bk_judgement bk_frontier_judge(const bk_point *points, size_t n, size_t i);

#endif
