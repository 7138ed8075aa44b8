/* Loops that do nothing but one instruction, for measuring what a CPU can do at most. Beside the table
 * of compute kernels (kernel.h), level by level like it, and as pure. */
#ifndef BRISK_KERNEL_PEAK_H
#define BRISK_KERNEL_PEAK_H

#include "base/base.h"
#include "sys/cpu.h"

/* Most rounds of one call: sums of ones stay exact in float32. */
enum { BK_PEAK_ROUNDS = 1 << 20 };

/* All operands are ones, so the sum of all accumulators is the number of multiplications that were
 * done, and that is what is returned: it cannot differ from the work. */
typedef uint64_t (*bk_peak_loop)(size_t rounds);

typedef struct bk_peaks {
    bk_peak_loop int8;        /* bytes to 32 bits: the dot, operands in registers */
    bk_peak_loop int8_memory; /* one operand is four bytes broadcast from memory */
    bk_peak_loop bf16;        /* NULL: no such instruction */
    bk_peak_loop f32;         /* multiply and add, fused where the level has it */
    /* Reads lines of 64 bytes from 64-byte aligned memory, `bytes` a multiple of BK_PEAK_READ.
     * Returns the xor of all 64-bit words. */
    uint64_t (*read)(const void *from, size_t bytes);
} bk_peaks;

enum { BK_PEAK_READ = 512 };

/* The loops of this level, or of the highest that the CPU has below it. */
bk_peaks bk_peaks_select(bk_cpu_level level);

/* Fill functions, each overriding what the level below has set. */
void bk_peaks_init_ref(bk_peaks *p);
void bk_peaks_init_avx2(bk_peaks *p);
void bk_peaks_init_vnni256(bk_peaks *p, bool encoded_vex); /* bk_cpu_has_avxvnni_vex */
void bk_peaks_init_avx512(bk_peaks *p, bool has_bf16);

#endif
