/* The 256-bit VNNI level in the encoding of AVX-VNNI. */
#define DPBUSD _mm256_dpbusd_avx_epi32
#define TILES_OF(name) bk_tiles_##name##_avxvnni
#include "kernel/fast256_avx2.h"

void bk_kernels_init_avxvnni(bk_kernels *k) {
    k->level = BK_CPU_AVXVNNI;
    product256_init(k);
}
