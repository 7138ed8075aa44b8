/* The 256-bit VNNI level in the encoding of AVX512-VNNI with VL. */
#define DPBUSD _mm256_dpbusd_epi32
#define TILES_OF(name) bk_tiles_##name##_avx512vnni256
#include "kernel/fast256_avx2.h"

void bk_kernels_init_avx512vnni256(bk_kernels *k) {
    k->level = BK_CPU_AVXVNNI;
    product256_init(k);
}
