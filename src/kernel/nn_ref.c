#include "kernel/lanes_ref.h"

#define LEVEL BK_CPU_REF
#define TABLE bk_nn_kernels_ref
#include "kernel/nn_loops.h"
