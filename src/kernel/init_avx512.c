#include "kernel/parts.h"

void bk_kernels_init_avx512(bk_kernels *k) {
    k->level = BK_CPU_AVX512;
    bk_matmul_init_avx512(k);
    bk_fast_init_avx512(k);
    bk_rows_init_avx512(k);
    bk_attention_init_avx512(k);
}
