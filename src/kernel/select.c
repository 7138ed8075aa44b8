#include "kernel/kernel.h"

/* One table per level, filled on first use. Asking for a level that the CPU lacks gives the best
 * below it: entries are copied upwards. */
#include <pthread.h>

static bk_kernels tables[BK_CPU_LEVELS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void) {
    bk_cpu_level best = bk_cpu_best();
    bk_kernels k;
    bk_kernels_init_ref(&k);
    tables[BK_CPU_REF] = k;
#if defined(__x86_64__)
    if (best >= BK_CPU_AVX2) bk_kernels_init_avx2(&k);
    tables[BK_CPU_AVX2] = k;
    if (best >= BK_CPU_AVXVNNI) {
        if (bk_cpu_has_avxvnni_vex())
            bk_kernels_init_avxvnni(&k);
        else
            bk_kernels_init_avx512vnni256(&k);
    }
    tables[BK_CPU_AVXVNNI] = k;
    if (best >= BK_CPU_AVX512) bk_kernels_init_avx512(&k);
    if (best >= BK_CPU_AVX512 && bk_cpu_has_avx512_vbmi2()) bk_kernels_init_avx512vbmi2(&k);
    tables[BK_CPU_AVX512] = k;
#else
    for (int i = 0; i < BK_CPU_LEVELS; i++) tables[i] = k;
#endif
}

const bk_kernels *bk_kernels_select(bk_cpu_level level) {
    pthread_once(&once, fill);
    return &tables[level];
}
