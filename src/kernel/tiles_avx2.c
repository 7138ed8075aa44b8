#include "kernel/tiles_avx2.h"

/* An entry of 4 lower tiles (their list and its length) and 4 upper ones. */
#define ENTRY(low, n, high) (uint64_t)(low) | (uint64_t)(high) << 8 * (n)
/* clang-format off */
#define ROW(high) \
    ENTRY(0, 0, high), ENTRY(0, 1, high), ENTRY(0x4, 1, high), ENTRY(0x400, 2, high), \
    ENTRY(0x8, 1, high), ENTRY(0x800, 2, high), ENTRY(0x804, 2, high), ENTRY(0x80400, 3, high), \
    ENTRY(0xc, 1, high), ENTRY(0xc00, 2, high), ENTRY(0xc04, 2, high), ENTRY(0xc0400, 3, high), \
    ENTRY(0xc08, 2, high), ENTRY(0xc0800, 3, high), ENTRY(0xc0804, 3, high), \
    ENTRY(0xc080400, 4, high)

const uint64_t bk_tile_offsets[256] = {
    ROW(0), ROW(0x10), ROW(0x14), ROW(0x1410), ROW(0x18), ROW(0x1810), ROW(0x1814), ROW(0x181410),
    ROW(0x1c), ROW(0x1c10), ROW(0x1c14), ROW(0x1c1410), ROW(0x1c18), ROW(0x1c1810), ROW(0x1c1814),
    ROW(0x1c181410)};
/* clang-format on */
