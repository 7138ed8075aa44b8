/* Tiles of sparse matrices at the 256-bit VNNI level in the encoding of AVX512-VNNI with VL. */
#define DPBUSD _mm256_dpbusd_epi32
#define TILES_OF(name) bk_tiles_##name##_avx512vnni256
#include "kernel/sparse256_avx2.h"
