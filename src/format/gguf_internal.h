/* What the files of GGUF reader, builder and writer share. */
#ifndef BRISK_FORMAT_GGUF_INTERNAL_H
#define BRISK_FORMAT_GGUF_INTERNAL_H

#include "base/mem.h"
#include "format/gguf.h"
#include "format/gguf_bytes.h"
#include "sys/file.h"

/* Where a file does not say otherwise, and the power of two that tensors of written files start at. */
enum { BK_GGUF_ALIGNMENT = 32 };

struct bk_gguf {
    const uint8_t *data; /* of the file whose header was read; NULL for one that was built */
    size_t size;
    uint32_t version, alignment;
    size_t n_kv, n_tensors;
    bk_gguf_kv *kv;
    bk_gguf_tensor *tensors;
    const bk_gguf_kv **kv_index;         /* sorted by length and bytes of the key */
    const bk_gguf_tensor **tensor_index; /* the same */
    bk_map *maps;                        /* that tensors point into, closed at the end */
    size_t n_maps;
    bk_arena arena; /* what a builder has copied */
};

/* Fill kv_index, tensor_index; for tensors FORMAT when a name stands twice. */
void bk_gguf_index_keys(bk_gguf *g);
bk_status bk_gguf_index_tensors(bk_gguf *g, bk_error *err);

/* Takes over the map; on failure (NOMEM) closes it. */
bk_status bk_gguf_hold_map(bk_gguf *g, bk_map *map, bk_error *err);

#endif
