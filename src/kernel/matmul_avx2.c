#include "kernel/fast256_avx2.h"

void bk_matmul_init_avx2(bk_kernels *k) { product256_init(k); }
