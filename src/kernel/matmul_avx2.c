#include "kernel/matmul256_avx2.h"

void bk_matmul_init_avx2(bk_kernels *k) { matmul256_init(k); }
