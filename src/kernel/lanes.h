/* 16 lanes of float: those of the lanes_LEVEL.h that was included before, else the portable ones. */
#ifndef BRISK_KERNEL_LANES_H
#define BRISK_KERNEL_LANES_H

#ifndef LANE_FN
#include "kernel/lanes_ref.h"
#endif

#endif
