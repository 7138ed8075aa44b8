#include "kernel/nn.h"

const bk_nn_kernels *bk_nn_kernels_select(bk_cpu_level level) {
#if defined(__x86_64__)
    bk_cpu_level best = bk_cpu_best();
    if (level >= BK_CPU_AVX512 && best >= BK_CPU_AVX512) return &bk_nn_kernels_avx512;
    if (level >= BK_CPU_AVX2 && best >= BK_CPU_AVX2) return &bk_nn_kernels_avx2;
#else
    (void)level;
#endif
    return &bk_nn_kernels_ref;
}
