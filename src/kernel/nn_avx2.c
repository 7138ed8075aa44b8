#include "kernel/lanes_avx2.h"

#define LEVEL BK_CPU_AVX2
#define TABLE bk_nn_kernels_avx2
#define TILE_VECS 1
#define TILE_ROWS 4
#include "kernel/nn_table.h"
