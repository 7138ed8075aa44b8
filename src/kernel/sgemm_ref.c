#include "kernel/lanes_ref.h"

#define TILE_ROWS 4
#define TILE_LANES 1
#define EACH_TILE(X) X(1) X(2) X(3) X(4)
#define TABLE bk_sgemm_ref

/* x[width][ld] to out[k][pitch], width <= 16. */
static void turn(const float *x, size_t ld, size_t width, size_t k, float *out, size_t pitch) {
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < width; i++) out[p * pitch + i] = x[i * ld + p];
}

#include "kernel/sgemm_loops.h"

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
