#include "kernel/lanes_avx512.h"

#define LEVEL BK_CPU_AVX512
#define TABLE bk_nn_kernels_avx512
#include "kernel/nn_loops.h"
