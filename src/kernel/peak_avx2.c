/* 256 bits: AVX2, and the 8-bit dot in its two encodings. */
#include <immintrin.h>

#include "kernel/peak_loops.h"

/* AVX2 has no 8-bit dot. The best that it does is the sequence for 4-bit weights of dots_avx2.h: eight
 * products of bytes summed in 16 bits, then widened. */
#define PRODUCT(p, w, a) __asm__ volatile("vpmaddubsw %2, %1, %0" : "=x"(p) : "x"(w), "x"(a))
#define BROADCAST(a, x) __asm__ volatile("vpbroadcastd %1, %0" : "=x"(a) : "m"(x))

static inline __m256i eight(__m256i acc, __m256i w, __m256i a, const uint32_t *x) {
    __m256i sum, p;
    _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) {
        if (x) BROADCAST(a, *x);
        PRODUCT(p, w, a);
        sum = j ? _mm256_add_epi16(sum, p) : p;
    }
    return _mm256_add_epi32(acc, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
}

/* Eight products wait for each other so little that four accumulators do. */
#define EIGHT(x) \
    if (i < 4) acc[i] = eight(acc[i], w, a, x)

PEAK_LOOP(int8, __m256i, int32_t, 0x01010101, EIGHT(NULL))
PEAK_LOOP(int8_memory, __m256i, int32_t, 0x01010101, EIGHT(&x[i]))
PEAK_LOOP(f32, __m256, float, 0x3f800000, PEAK_STEP("vfmadd231ps"))
PEAK_READ(read_lines, 32)

void bk_peaks_init_avx2(bk_peaks *p) {
    *p = (bk_peaks){.int8 = int8, .int8_memory = int8_memory, .f32 = f32, .read = read_lines};
}

/* There is no broadcasting operand in VEX; in EVEX there is. */
#define BROADCAST_STEP(OP) \
    BROADCAST(a, x[i]);    \
    PEAK_STEP(OP)
#define MEMORY_STEP(OP, LANES) \
    __asm__ volatile(OP " %2%{1to" LANES "%}, %1, %0" : "+v"(acc[i]) : "v"(w), "m"(x[i]))

PEAK_LOOP(vex, __m256i, int32_t, 0x01010101, PEAK_STEP("%{vex%} vpdpbusd"))
PEAK_LOOP(vex_memory, __m256i, int32_t, 0x01010101, BROADCAST_STEP("%{vex%} vpdpbusd"))
PEAK_LOOP(evex, __m256i, int32_t, 0x01010101, PEAK_STEP("%{evex%} vpdpbusd"))
PEAK_LOOP(evex_memory, __m256i, int32_t, 0x01010101, MEMORY_STEP("%{evex%} vpdpbusd", "8"))

void bk_peaks_init_vnni256(bk_peaks *p, bool encoded_vex) {
    p->int8 = encoded_vex ? vex : evex;
    p->int8_memory = encoded_vex ? vex_memory : evex_memory;
}
