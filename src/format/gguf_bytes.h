/* What the two files of the GGUF reader share: unaligned little-endian loads and type sizes. */
#ifndef BRISK_FORMAT_GGUF_BYTES_H
#define BRISK_FORMAT_GGUF_BYTES_H

#include "format/gguf.h"

/* For BK_STR_FMT: at most 64 bytes of a key or tensor name, so that even one made of control bytes
 * (four characters each in a message) leaves room for what was found and wanted. */
#define NAME_ARG(s) (int)bk_min_size((s).len, 64), (s).data

/* n <= 8 bytes as one number; compilers make a single load of it. */
static inline uint64_t bk_le(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static inline uint32_t bk_le32(const uint8_t *p) { return (uint32_t)bk_le(p, 4); }
static inline uint64_t bk_le64(const uint8_t *p) { return bk_le(p, 8); }

/* Bytes of a scalar; for a string the least that one takes in a file (its length field); 0 for
 * arrays and undefined numbers. */
static inline size_t bk_gguf_type_size(uint32_t type) {
    static const uint8_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
    return type < BK_ARRAY_LEN(size) ? size[type] : 0;
}

#endif
