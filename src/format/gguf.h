/* GGUF version 2 and 3: a file, the parts of a split one, or a model put together in memory
 * (format/gguf_build.h); whoever reads keys and tensors need not know which.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * The one bounded reader: every length is compared with the bytes left before it is added,
 * multiplied or allocated. Keys, strings and arrays are views into the file's bytes; tensor extents
 * are checked against the file's size, overlaps are refused. Cost: one pass over the header. */
#ifndef BRISK_FORMAT_GGUF_H
#define BRISK_FORMAT_GGUF_H

#include "base/error.h"
#include "base/str.h"
#include "quant/quant.h"

enum { BK_GGUF_MAX_DIMS = 4 };

typedef enum bk_gguf_type {
    BK_GGUF_U8 = 0,
    BK_GGUF_I8 = 1,
    BK_GGUF_U16 = 2,
    BK_GGUF_I16 = 3,
    BK_GGUF_U32 = 4,
    BK_GGUF_I32 = 5,
    BK_GGUF_F32 = 6,
    BK_GGUF_BOOL = 7,
    BK_GGUF_STRING = 8,
    BK_GGUF_ARRAY = 9,
    BK_GGUF_U64 = 10,
    BK_GGUF_I64 = 11,
    BK_GGUF_F64 = 12
} bk_gguf_type;

/* "uint32", "string"; "?" when undefined. */
const char *bk_gguf_type_name(uint32_t type);

typedef struct bk_gguf_kv {
    bk_str key;
    bk_gguf_type type;      /* of the value */
    bk_gguf_type elem_type; /* of an array's elements */
    size_t n;               /* elements of an array; 1 otherwise */
    const uint8_t *data;    /* the value's bytes (a string's text, an array's first element);
                               unaligned, little-endian */
    size_t bytes;           /* length of data */
} bk_gguf_kv;

/* Makes the bytes of a tensor that lies nowhere as such: out[bytes]. */
typedef bk_status (*bk_gguf_fill)(const void *source, uint8_t *out, bk_error *err);

typedef struct bk_gguf_tensor {
    bk_str name;
    const bk_quant *type; /* never NULL: unknown types are refused */
    int n_dims;
    uint64_t ne[BK_GGUF_MAX_DIMS]; /* elements per dimension, fastest first; unused are 1 */
    uint64_t n_elements;
    const uint8_t
        *data; /* into a file or somebody's memory; NULL when fill makes them: bk_gguf_read
                            serves both */
    size_t bytes;
    bk_gguf_fill fill;
    const void *source; /* for fill */
    bool part;          /* of another tensor (format/gguf_parts.h) */
} bk_gguf_tensor;

typedef struct bk_gguf bk_gguf;

/* Reads the header in data[0..size), which must outlive *out. FORMAT, UNSUPPORTED, NOMEM. */
bk_status bk_gguf_parse(const uint8_t *data, size_t size, bk_gguf **out, bk_error *err);
/* Maps and reads a file. The first part of a split one (NAME-00001-of-00003.gguf; keys split.no,
 * split.count, split.tensors.count) brings the others beside it: the result has the tensors of all,
 * and the keys of the first without those three. Tensors that the file keeps in parts
 * (format/gguf_parts.h) have been put together. NOT_FOUND, IO too; FORMAT when parts disagree or path is
 * another part than the first. */
bk_status bk_gguf_open(const char *path, bk_gguf **out, bk_error *err);
void bk_gguf_destroy(bk_gguf **g);

/* All bytes of a tensor, until bk_gguf_release, which also tells the kernel that pages of the file
 * will not be read again. IO when a file has shrunk since it was opened; NOMEM, and what fill says. */
bk_status bk_gguf_read(const bk_gguf *g, const bk_gguf_tensor *t, const uint8_t **data,
                       bk_error *err);
void bk_gguf_release(const bk_gguf *g, const bk_gguf_tensor *t, const uint8_t *data);
/* Only the advice, for a part of the bytes read; parts in order leave no page behind. */
void bk_gguf_drop(const bk_gguf *g, const bk_gguf_tensor *t, size_t offset, size_t bytes);

/* Of all files together. */
uint64_t bk_gguf_file_bytes(const bk_gguf *g);

unsigned bk_gguf_version(const bk_gguf *g);
size_t bk_gguf_n_kv(const bk_gguf *g);
const bk_gguf_kv *bk_gguf_kv_at(const bk_gguf *g, size_t i);
const bk_gguf_kv *bk_gguf_find(const bk_gguf *g, const char *key); /* NULL when absent */
size_t bk_gguf_n_tensors(const bk_gguf *g);
const bk_gguf_tensor *bk_gguf_tensor_at(const bk_gguf *g, size_t i);
const bk_gguf_tensor *bk_gguf_find_tensor(const bk_gguf *g, const char *name);

/* Typed access. Each checks the stored type (any integer width is accepted where an integer is
 * wanted, when the value fits) and the range; a missing key is NOT_FOUND with *out untouched and
 * no error text, so that callers give defaults. Wrong type or range: FORMAT naming key, found and
 * wanted. */
bk_status bk_gguf_u32(const bk_gguf *g, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                      bk_error *err);
bk_status bk_gguf_f32(const bk_gguf *g, const char *key, float min, float max, float *out,
                      bk_error *err); /* finite only */
bk_status bk_gguf_bool(const bk_gguf *g, const char *key, bool *out, bk_error *err);
bk_status bk_gguf_str(const bk_gguf *g, const char *key, bk_str *out, bk_error *err);

/* An array of strings as views / of integers / of floats: *out is allocated (bk_free), *n set. */
bk_status bk_gguf_str_array(const bk_gguf *g, const char *key, bk_str **out, size_t *n,
                            bk_error *err);
bk_status bk_gguf_i32_array(const bk_gguf *g, const char *key, int32_t **out, size_t *n,
                            bk_error *err);
bk_status bk_gguf_f32_array(const bk_gguf *g, const char *key, float **out, size_t *n,
                            bk_error *err);

#endif
