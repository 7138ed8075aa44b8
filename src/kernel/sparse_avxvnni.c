/* Tiles of sparse matrices at the 256-bit VNNI level in the encoding of AVX-VNNI. */
#define DPBUSD _mm256_dpbusd_avx_epi32
#define TILES_OF(name) bk_tiles_##name##_avxvnni
#include "kernel/sparse256_avx2.h"
