/* The portable loops, which the compiler turns into what the baseline has, and the choice. */
#include "kernel/peak.h"

#include <string.h>

#include "kernel/peak_loops.h"

typedef float four __attribute__((vector_size(16)));

PEAK_LOOP(f32, four, float, 0x3f800000, acc[i] = acc[i] * w + a)
PEAK_READ(read_lines, 16)

static uint64_t int8(size_t rounds) {
    enum { N = 64 };
    uint8_t w[N];
    int8_t a[N];
    int32_t sum[N] = {0};
    memset(w, 1, sizeof w);
    memset(a, 1, sizeof a);
    for (size_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : : "r"(w), "r"(a) : "memory"); /* read anew */
        for (size_t i = 0; i < N; i++) sum[i] += w[i] * a[i];
    }
    uint64_t all = 0;
    for (size_t i = 0; i < N; i++) all += (uint64_t)sum[i];
    return all;
}

void bk_peaks_init_ref(bk_peaks *p) {
    *p = (bk_peaks){.int8 = int8, .int8_memory = int8, .f32 = f32, .read = read_lines};
}

bk_peaks bk_peaks_select(bk_cpu_level level) {
    bk_peaks p;
    bk_peaks_init_ref(&p);
#if defined(__x86_64__)
    bk_cpu_level best = bk_cpu_best();
    if (level > best) level = best;
    if (level >= BK_CPU_AVX2) bk_peaks_init_avx2(&p);
    if (level >= BK_CPU_AVXVNNI) bk_peaks_init_vnni256(&p, bk_cpu_has_avxvnni_vex());
    if (level >= BK_CPU_AVX512) bk_peaks_init_avx512(&p, bk_cpu_has_avx512_bf16());
#endif
    return p;
}
