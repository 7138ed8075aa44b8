#include <immintrin.h>

#include "kernel/peak_loops.h"

#define MEMORY_STEP(OP) \
    __asm__ volatile(OP " %2%{1to16%}, %1, %0" : "+v"(acc[i]) : "v"(w), "m"(x[i]))

PEAK_LOOP(int8, __m512i, int32_t, 0x01010101, PEAK_STEP("vpdpbusd"))
PEAK_LOOP(int8_memory, __m512i, int32_t, 0x01010101, MEMORY_STEP("vpdpbusd"))
PEAK_LOOP(bf16, __m512, float, 0x3f803f80, PEAK_STEP("vdpbf16ps"))
PEAK_LOOP(f32, __m512, float, 0x3f800000, PEAK_STEP("vfmadd231ps"))
PEAK_READ(read_lines, 64)

void bk_peaks_init_avx512(bk_peaks *p, bool has_bf16) {
    *p = (bk_peaks){.int8 = int8,
                    .int8_memory = int8_memory,
                    .bf16 = has_bf16 ? bf16 : NULL,
                    .f32 = f32,
                    .read = read_lines};
}
