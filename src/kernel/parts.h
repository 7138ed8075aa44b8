/* The pieces of which a level's table is made: each fills the entries of one family. */
#ifndef BRISK_KERNEL_PARTS_H
#define BRISK_KERNEL_PARTS_H

#include "kernel/kernel.h"

/* Kernel bodies are templates: inlined whole, with loops over constants unrolled. */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#define DIRECT_ARGS                                                                          \
    const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch, size_t cols, \
        float *out, size_t ldo, bool add
#define TILES_ARGS                                                                       \
    const bk_packed *w, size_t first, size_t n, const bk_panel *panel, const void *acts, \
        size_t pitch, size_t cols, float *out, size_t ldo, bool add

/* Columns of the next strip when `left` are left: strips are of nearly equal width, so that 13
 * columns go as 5 + 4 + 4, not as 6 + 6 + 1. */
static inline size_t bk_strip_cols(size_t left, size_t most) {
    return bk_div_up(left, bk_div_up(left, most));
}

/* Calls run with `cols`, 1..BK_TILE_COLS, as a constant last argument. */
#define WITH_COLS(cols, run, ...)        \
    switch (cols) {                      \
    case 1: run(__VA_ARGS__, 1); break;  \
    case 2: run(__VA_ARGS__, 2); break;  \
    case 3: run(__VA_ARGS__, 3); break;  \
    case 4: run(__VA_ARGS__, 4); break;  \
    case 5: run(__VA_ARGS__, 5); break;  \
    default: run(__VA_ARGS__, 6); break; \
    }

/* Names of the level's products of tiles, for headers that several levels include. */
#ifndef TILES_OF
#define TILES_OF(name) bk_tiles_##name##_avx2
#endif

void bk_fast_init_ref(bk_kernels *k);

void bk_matmul_init_avx2(bk_kernels *k);
void bk_rows_init_avx2(bk_kernels *k);
void bk_attention_init_avx2(bk_kernels *k);

void bk_matmul_init_avx512(bk_kernels *k);
void bk_rows_init_avx512(bk_kernels *k);
void bk_attention_init_avx512(bk_kernels *k);

/* The second half of fast_expand: a panel of n groups as expand made it becomes one of the fast product,
 * in place. `zero` is that of its bytes. */
void bk_fast_coarsen_avx2(const bk_packed *w, size_t n, const bk_panel *panel, int zero);
void bk_fast_coarsen_avx512(const bk_packed *w, size_t n, const bk_panel *panel, int zero);
void bk_fast_init_avx512(bk_kernels *k);

/* Entries of the table for float weights, to which the matrix products hand these on. Those of AVX2
 * serve all levels of 256 bits. */
void bk_float_direct_avx2(DIRECT_ARGS);
void bk_float_expand_avx2(const bk_packed *w, size_t first, size_t n, const bk_panel *panel);
void bk_float_tiles_avx2(TILES_ARGS);
void bk_float_direct_avx512(DIRECT_ARGS);
void bk_float_expand_avx512(const bk_packed *w, size_t first, size_t n, const bk_panel *panel);
void bk_float_tiles_avx512(TILES_ARGS);

/* Sparse matrices (sparse.h). The portable product serves single weights where there is no faster one. */
void bk_ref_direct(DIRECT_ARGS);
/* A dense panel of any sparse groups: bytes are quants + bias. */
void bk_sparse_expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel, int bias);
void bk_tile_sums_avx2(size_t k, void *act);
void bk_direct_avx512(DIRECT_ARGS);
void bk_expand_avx512(const bk_packed *w, size_t first, size_t n, const bk_panel *panel);
/* Tiles, to which the matrix products of a level hand these on. */
#define TILES_KERNELS(level)                                                 \
    void bk_tiles_direct_##level(DIRECT_ARGS);                               \
    void bk_tiles_expand_##level(const bk_packed *w, size_t first, size_t n, \
                                 const bk_panel *panel);                     \
    void bk_tiles_tiles_##level(TILES_ARGS);
TILES_KERNELS(avx2)
TILES_KERNELS(avxvnni)
TILES_KERNELS(avx512vnni256)
TILES_KERNELS(avx512)

#endif
