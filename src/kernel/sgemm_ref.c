#include "kernel/sgemm_loops.h"

const bk_sgemm bk_sgemm_ref = SGEMM_TABLE;

const bk_sgemm *bk_sgemm_select(bk_cpu_level level) {
#if defined(__x86_64__)
    bk_cpu_level best = bk_cpu_best();
    if (level >= BK_CPU_AVX512 && best >= BK_CPU_AVX512) return &bk_sgemm_avx512;
    if (level >= BK_CPU_AVX2 && best >= BK_CPU_AVX2) return &bk_sgemm_avx2;
#else
    (void)level;
#endif
    return &bk_sgemm_ref;
}
