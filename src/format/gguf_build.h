/* Putting a GGUF model together in memory and writing one to a file.
 *
 *     bk_gguf_builder *b = bk_gguf_builder_create();
 *     bk_gguf_builder_keys_of(b, old);                     // all keys of another model
 *     bk_gguf_builder_u32(b, "general.file_type", 2);      // replaces one
 *     bk_gguf_builder_tensor(b, "output.weight", BK_TYPE_F16, 2, ne, bytes);
 *     status = bk_gguf_builder_finish(&b, &g, &err);       // the first failure of any call above
 *     if (status == BK_OK) status = bk_gguf_write(g, "out.gguf", NULL, &err);
 *
 * Keys and names are copied. A tensor's bytes are not: they are borrowed until the model that finish
 * gives is destroyed, or made by a function when they are asked for, so that a converted or
 * quantised model is never in memory as a whole. */
#ifndef BRISK_FORMAT_GGUF_BUILD_H
#define BRISK_FORMAT_GGUF_BUILD_H

#include "format/gguf.h"
#include "sys/file.h"

typedef struct bk_gguf_builder bk_gguf_builder;

bk_gguf_builder *bk_gguf_builder_create(void); /* NULL when memory is short */
void bk_gguf_builder_destroy(bk_gguf_builder **b);

/* Setting a key again replaces it. b may be NULL: then finish says that memory was short. */
void bk_gguf_builder_u32(bk_gguf_builder *b, const char *key, uint32_t v);
void bk_gguf_builder_f32(bk_gguf_builder *b, const char *key, float v);
void bk_gguf_builder_bool(bk_gguf_builder *b, const char *key, bool v);
void bk_gguf_builder_str(bk_gguf_builder *b, const char *key, bk_str v);
void bk_gguf_builder_strs(bk_gguf_builder *b, const char *key, const bk_str *v, size_t n);
void bk_gguf_builder_i32s(bk_gguf_builder *b, const char *key, const int32_t *v, size_t n);
void bk_gguf_builder_f32s(bk_gguf_builder *b, const char *key, const float *v, size_t n);
void bk_gguf_builder_u8s(bk_gguf_builder *b, const char *key, const uint8_t *v, size_t n);
/* All keys of another model, except general.alignment: files are written with that of the format. */
void bk_gguf_builder_keys_of(bk_gguf_builder *b, const bk_gguf *from);
/* general.file_type: what most weights are, by llama.cpp's numbers; types without a number: no key. */
void bk_gguf_builder_file_type(bk_gguf_builder *b, const bk_quant *type);
/* Without effect when the key is not there. */
void bk_gguf_builder_remove(bk_gguf_builder *b, const char *key);

/* ne[n_dims], fastest first, 1 <= n_dims <= BK_GGUF_MAX_DIMS; rows a whole number of blocks. */
void bk_gguf_builder_tensor(bk_gguf_builder *b, const char *name, bk_type type, int n_dims,
                            const uint64_t *ne, const uint8_t *data);
/* fill(source, out) writes the bytes, each time that they are asked for. */
void bk_gguf_builder_lazy(bk_gguf_builder *b, const char *name, bk_type type, int n_dims,
                          const uint64_t *ne, bk_gguf_fill fill, const void *source);

/* Zeroed memory that lives as long as the finished model; NULL when short (finish will say so). */
void *bk_gguf_builder_alloc(bk_gguf_builder *b, size_t n, size_t size);
/* Takes over a map that tensors point into: closed with the finished model. */
void bk_gguf_builder_map(bk_gguf_builder *b, bk_map *map);

/* The model, independent of the builder, which is gone. INVALID (a tensor's shape), FORMAT (a name
 * twice), UNSUPPORTED, NOMEM. */
bk_status bk_gguf_builder_finish(bk_gguf_builder **b, bk_gguf **out, bk_error *err);

typedef struct bk_gguf_write_options {
    void (*progress)(double done, void *user); /* may be NULL */
    void *user;
    const volatile bool *cancel; /* polled while writing; may be NULL */
} bk_gguf_write_options;

/* Version 3, tensors in order, aligned to 32 bytes (to general.alignment where the model has it),
 * under a temporary name until all of it is on disk: readers of path see the old or the new file.
 * options may be NULL. INVALID, IO, NOMEM, CANCELLED, and what a tensor's fill says. */
bk_status bk_gguf_write(const bk_gguf *g, const char *path, const bk_gguf_write_options *options,
                        bk_error *err);

#endif
