/* Small, seedable generator (PCG32, M. E. O'Neill 2014): the same seed gives the same text on
 * every machine. Not for secrets. */
#ifndef BRISK_BASE_RNG_H
#define BRISK_BASE_RNG_H

#include <stdint.h>

typedef struct bk_rng {
    uint64_t state, stream; /* stream is odd */
} bk_rng;

static inline uint32_t bk_rng_u32(bk_rng *r) {
    uint64_t old = r->state;
    r->state = old * 6364136223846793005u + r->stream;
    uint32_t x = (uint32_t)((old >> 18 ^ old) >> 27);
    unsigned rot = (unsigned)(old >> 59);
    return x >> rot | x << (-rot & 31);
}

static inline void bk_rng_seed(bk_rng *r, uint64_t seed, uint64_t stream) {
    r->state = 0;
    r->stream = stream << 1 | 1;
    bk_rng_u32(r);
    r->state += seed;
    bk_rng_u32(r);
}

/* Uniform in [0, 1) with 53 bits. */
static inline double bk_rng_unit(bk_rng *r) {
    uint64_t hi = bk_rng_u32(r) >> 5, lo = bk_rng_u32(r) >> 6;
    return (double)(hi << 26 | lo) * 0x1p-53;
}

#endif
