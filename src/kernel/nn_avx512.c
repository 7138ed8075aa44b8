#include "kernel/lanes_avx512.h"

#define LEVEL BK_CPU_AVX512
#define TABLE bk_nn_kernels_avx512
#define TILE_VECS 2
#define TILE_ROWS 8
#include "kernel/nn_table.h"
