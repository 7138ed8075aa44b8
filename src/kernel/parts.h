/* The pieces of which a level's table is made: each fills the entries of one family. */
#ifndef BRISK_KERNEL_PARTS_H
#define BRISK_KERNEL_PARTS_H

#include "kernel/kernel.h"

void bk_matmul_init_avx2(bk_kernels *k);
void bk_rows_init_avx2(bk_kernels *k);
void bk_attention_init_avx2(bk_kernels *k);

void bk_matmul_init_avx512(bk_kernels *k);
void bk_rows_init_avx512(bk_kernels *k);
void bk_attention_init_avx512(bk_kernels *k);

#endif
