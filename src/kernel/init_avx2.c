#include "kernel/parts.h"

void bk_kernels_init_avx2(bk_kernels *k) {
    k->level = BK_CPU_AVX2;
    bk_matmul_init_avx2(k);
    bk_rows_init_avx2(k);
    bk_attention_init_avx2(k);
    k->tile_sums = bk_tile_sums_avx2;
}
