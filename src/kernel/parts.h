/* The pieces of which a level's table is made: each fills the entries of one family. */
#ifndef BRISK_KERNEL_PARTS_H
#define BRISK_KERNEL_PARTS_H

#include "kernel/kernel.h"

/* Kernel bodies are templates: inlined whole, with loops over constants unrolled. */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

void bk_matmul_init_avx2(bk_kernels *k);
void bk_rows_init_avx2(bk_kernels *k);
void bk_attention_init_avx2(bk_kernels *k);

void bk_matmul_init_avx512(bk_kernels *k);
void bk_rows_init_avx512(bk_kernels *k);
void bk_attention_init_avx512(bk_kernels *k);

#endif
