/* The GGUF reader: a good file read back, every class of bad one refused with a text that names the
 * key or tensor, truncation at every byte, flipped bytes, memory that runs out. Inputs lie in blocks
 * of exactly their size, so that the address sanitizer sees any read past the end. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "format/gguf.h"

/* ---- Writing -------------------------------------------------------------------------------- */

static void put(bk_buf *b, uint64_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) bk_buf_putc(b, (char)(v >> 8 * i));
}

static void put_text(bk_buf *b, const char *text) {
    put(b, strlen(text), 8);
    bk_buf_append_str(b, text);
}

static void put_head(bk_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv) {
    bk_buf_append_str(b, "GGUF");
    put(b, version, 4);
    put(b, n_tensors, 8);
    put(b, n_kv, 8);
}

static void put_key(bk_buf *b, const char *key, uint32_t type) {
    put_text(b, key);
    put(b, type, 4);
}

static void put_number(bk_buf *b, const char *key, uint32_t type, uint64_t v, size_t bytes) {
    put_key(b, key, type);
    put(b, v, bytes);
}

static void put_array(bk_buf *b, const char *key, uint32_t type, uint64_t n) {
    put_key(b, key, BK_GGUF_ARRAY);
    put(b, type, 4);
    put(b, n, 8);
}

static void put_tensor(bk_buf *b, const char *name, uint32_t n_dims, const uint64_t *ne,
                       uint32_t type, uint64_t offset) {
    put_text(b, name);
    put(b, n_dims, 4);
    for (uint32_t d = 0; d < n_dims; d++) put(b, ne[d], 8);
    put(b, type, 4);
    put(b, offset, 8);
}

static void pad(bk_buf *b, size_t alignment) {
    while (b->len % alignment) bk_buf_putc(b, 0);
}

static uint64_t f32_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static uint64_t f64_bits(double d) {
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

/* One key of every type, three tensors of which the last stands first in the data. */
static void put_good(bk_buf *b, uint32_t version) {
    put_head(b, version, 3, 17);
    put_key(b, "t.string", BK_GGUF_STRING);
    put_text(b, "hello");
    put_number(b, "t.u8", BK_GGUF_U8, 200, 1);
    put_number(b, "t.i8", BK_GGUF_I8, (uint64_t)-5, 1);
    put_number(b, "t.u16", BK_GGUF_U16, 60000, 2);
    put_number(b, "t.i16", BK_GGUF_I16, 300, 2);
    put_number(b, "t.u32", BK_GGUF_U32, 4000000000u, 4);
    put_number(b, "t.i32", BK_GGUF_I32, (uint64_t)-7, 4);
    put_number(b, "t.u64", BK_GGUF_U64, UINT64_MAX, 8);
    put_number(b, "t.i64", BK_GGUF_I64, 12, 8);
    put_number(b, "t.f32", BK_GGUF_F32, f32_bits(1.5f), 4);
    put_number(b, "t.f64", BK_GGUF_F64, f64_bits(2.25), 8);
    put_number(b, "t.bool", BK_GGUF_BOOL, 1, 1);
    put_number(b, "general.alignment", BK_GGUF_U32, 64, 4);
    put_array(b, "t.names", BK_GGUF_STRING, 3);
    put_text(b, "a");
    put_text(b, "");
    put_text(b, "ccc");
    put_array(b, "t.ids", BK_GGUF_I16, 2);
    put(b, 3, 2);
    put(b, (uint64_t)-4, 2);
    put_array(b, "t.scores", BK_GGUF_F32, 2);
    put(b, f32_bits(0.5f), 4);
    put(b, f32_bits(-1), 4);
    put_array(b, "t.none", BK_GGUF_STRING, 0);
    put_tensor(b, "norm", 1, (uint64_t[]){3}, BK_TYPE_F32, 64);
    put_tensor(b, "blk.0.w", 2, (uint64_t[]){32, 2}, BK_TYPE_Q4_0, 128);
    put_tensor(b, "embd", 3, (uint64_t[]){2, 2, 2}, BK_TYPE_F16, 0);
    pad(b, 64);
    for (int i = 0; i < 128 + 36; i++) bk_buf_putc(b, (char)i);
}

/* Parses a copy of exactly len bytes, which *copy receives: free it after the gguf. */
static bk_status parse(const char *data, size_t len, uint8_t **copy, bk_gguf **g, bk_error *e) {
    *copy = malloc(len ? len : 1);
    if (len) memcpy(*copy, data, len);
    e->text[0] = '\0';
    return bk_gguf_parse(*copy, len, g, e);
}

/* ---- Reading back --------------------------------------------------------------------------- */

static void check_scalars(const bk_gguf *g) {
    uint32_t u = 0;
    float f;
    bool flag = false;
    bk_str s;
    bk_error e;
    assert_int_equal(bk_gguf_u32(g, "t.u8", 0, 255, &u, &e), BK_OK);
    assert_int_equal(u, 200);
    assert_int_equal(bk_gguf_u32(g, "t.u16", 0, 65535, &u, &e), BK_OK);
    assert_int_equal(u, 60000);
    assert_int_equal(bk_gguf_u32(g, "t.i16", 300, 300, &u, &e), BK_OK);
    assert_int_equal(u, 300);
    assert_int_equal(bk_gguf_u32(g, "t.u32", 0, UINT32_MAX, &u, &e), BK_OK);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(bk_gguf_u32(g, "t.i64", 0, 12, &u, &e), BK_OK);
    assert_int_equal(u, 12);
    assert_int_equal(bk_gguf_f32(g, "t.f32", 0, 2, &f, &e), BK_OK);
    assert_true(f == 1.5f);
    assert_int_equal(bk_gguf_f32(g, "t.f64", 0, 3, &f, &e), BK_OK);
    assert_true(f == 2.25f);
    assert_int_equal(bk_gguf_bool(g, "t.bool", &flag, &e), BK_OK);
    assert_true(flag);
    assert_int_equal(bk_gguf_str(g, "t.string", &s, &e), BK_OK);
    assert_true(bk_str_eq(s, BK_STR("hello")));
}

static void check_arrays(const bk_gguf *g) {
    bk_str *names;
    int32_t *ids;
    float *scores;
    size_t n;
    bk_error e;
    assert_int_equal(bk_gguf_str_array(g, "t.names", &names, &n, &e), BK_OK);
    assert_int_equal(n, 3);
    assert_true(bk_str_eq(names[0], BK_STR("a")) && names[1].len == 0 &&
                bk_str_eq(names[2], BK_STR("ccc")));
    bk_free(names);
    assert_int_equal(bk_gguf_str_array(g, "t.none", &names, &n, &e), BK_OK);
    assert_int_equal(n, 0);
    bk_free(names);
    assert_int_equal(bk_gguf_i32_array(g, "t.ids", &ids, &n, &e), BK_OK);
    assert_true(n == 2 && ids[0] == 3 && ids[1] == -4);
    bk_free(ids);
    assert_int_equal(bk_gguf_f32_array(g, "t.scores", &scores, &n, &e), BK_OK);
    assert_true(n == 2 && scores[0] == 0.5f && scores[1] == -1.0f);
    bk_free(scores);
}

static void check_tensors(const bk_gguf *g, const uint8_t *data, size_t size) {
    assert_int_equal(bk_gguf_n_tensors(g), 3);
    const bk_gguf_tensor *t = bk_gguf_find_tensor(g, "blk.0.w");
    assert_ptr_equal(t, bk_gguf_tensor_at(g, 1));
    assert_ptr_equal(t->type, bk_quant_find(BK_TYPE_Q4_0));
    assert_true(t->n_dims == 2 && t->ne[0] == 32 && t->ne[1] == 2 && t->ne[2] == 1 &&
                t->ne[3] == 1);
    assert_true(t->n_elements == 64 && t->bytes == 36);
    assert_ptr_equal(t->data + t->bytes, data + size);
    t = bk_gguf_find_tensor(g, "embd");
    assert_true(t->n_elements == 8 && t->bytes == 16 && t->data[0] == 0);
    t = bk_gguf_find_tensor(g, "norm");
    assert_true(t->n_elements == 3 && t->bytes == 12 && t->data[0] == 64);
    assert_null(bk_gguf_find_tensor(g, "nor"));
    assert_null(bk_gguf_find_tensor(g, ""));
    assert_null(bk_gguf_tensor_at(g, 3));
}

static void reads_good_files(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        bk_buf b = {0};
        uint8_t *copy;
        bk_gguf *g;
        bk_error e;
        put_good(&b, version);
        assert_int_equal(parse(b.data, b.len, &copy, &g, &e), BK_OK);
        assert_int_equal(bk_gguf_version(g), version);
        assert_int_equal(bk_gguf_n_kv(g), 17);
        assert_true(bk_str_eq(bk_gguf_kv_at(g, 0)->key, BK_STR("t.string")));
        assert_null(bk_gguf_kv_at(g, 17));
        assert_null(bk_gguf_find(g, "t.absent"));
        assert_int_equal(bk_gguf_find(g, "t.names")->n, 3);
        check_scalars(g);
        check_arrays(g);
        check_tensors(g, copy, b.len);
        bk_gguf_destroy(&g);
        assert_null(g);
        bk_gguf_destroy(&g);
        free(copy);
        bk_buf_free(&b);
    }
}

static void typed_access_refuses(void **state) {
    (void)state;
    bk_buf b = {0};
    uint8_t *copy;
    bk_gguf *g;
    bk_error e = {0};
    uint32_t u = 77;
    int32_t *ids = NULL;
    float f = 77, *scores = NULL;
    bool flag = false;
    bk_str s = {0}, *names = NULL;
    size_t n = 77;
    put_good(&b, 3);
    assert_int_equal(parse(b.data, b.len, &copy, &g, &e), BK_OK);

    assert_int_equal(bk_gguf_u32(g, "absent", 0, 1, &u, &e), BK_ERR_NOT_FOUND);
    assert_int_equal(bk_gguf_str_array(g, "absent", &names, &n, &e), BK_ERR_NOT_FOUND);
    assert_string_equal(e.text, "");

#define REFUSED(call, wanted)                  \
    do {                                       \
        assert_int_equal(call, BK_ERR_FORMAT); \
        assert_string_equal(e.text, wanted);   \
    } while (0)
    REFUSED(bk_gguf_u32(g, "t.f32", 0, 9, &u, &e), "key 't.f32' is float32, wanted an integer");
    REFUSED(bk_gguf_u32(g, "t.bool", 0, 9, &u, &e), "key 't.bool' is bool, wanted an integer");
    REFUSED(bk_gguf_u32(g, "t.ids", 0, 9, &u, &e),
            "key 't.ids' is an array of int16, wanted an integer");
    REFUSED(bk_gguf_u32(g, "t.u8", 201, 300, &u, &e), "key 't.u8': found 200, wanted 201 to 300");
    REFUSED(bk_gguf_u32(g, "t.u8", 0, 199, &u, &e), "key 't.u8': found 200, wanted 0 to 199");
    REFUSED(bk_gguf_u32(g, "t.i8", 0, 9, &u, &e), "key 't.i8': found -5, wanted 0 to 9");
    REFUSED(bk_gguf_u32(g, "t.u64", 0, UINT32_MAX, &u, &e),
            "key 't.u64': found 18446744073709551615, wanted 0 to 4294967295");
    REFUSED(bk_gguf_f32(g, "t.u8", 0, 9, &f, &e), "key 't.u8' is uint8, wanted a float");
    REFUSED(bk_gguf_f32(g, "t.f32", 2, 3, &f, &e), "key 't.f32': found 1.5, wanted 2 to 3");
    REFUSED(bk_gguf_bool(g, "t.u8", &flag, &e), "key 't.u8' is uint8, wanted bool");
    REFUSED(bk_gguf_str(g, "t.names", &s, &e),
            "key 't.names' is an array of string, wanted a string");
    REFUSED(bk_gguf_str_array(g, "t.ids", &names, &n, &e),
            "key 't.ids' is an array of int16, wanted an array of strings");
    REFUSED(bk_gguf_str_array(g, "t.string", &names, &n, &e),
            "key 't.string' is string, wanted an array of strings");
    REFUSED(bk_gguf_i32_array(g, "t.scores", &ids, &n, &e),
            "key 't.scores' is an array of float32, wanted an array of integers");
    REFUSED(bk_gguf_i32_array(g, "t.i32", &ids, &n, &e),
            "key 't.i32' is int32, wanted an array of integers");
    REFUSED(bk_gguf_f32_array(g, "t.ids", &scores, &n, &e),
            "key 't.ids' is an array of int16, wanted an array of floats");
    assert_true(u == 77 && f == 77 && n == 77 && !names && !ids && !scores);
    bk_gguf_destroy(&g);
    free(copy);
    bk_buf_free(&b);
}

/* Values that the type holds but that cannot be used. */
static void values_refused(void **state) {
    (void)state;
    bk_buf b = {0};
    uint8_t *copy;
    bk_gguf *g;
    bk_error e;
    float f, *scores;
    int32_t *ids;
    size_t n;
    put_head(&b, 3, 0, 6);
    put_number(&b, "nan", BK_GGUF_F32, 0x7FC00000, 4);
    put_number(&b, "inf", BK_GGUF_F32, 0x7F800000, 4);
    put_number(&b, "huge", BK_GGUF_F64, f64_bits(1e300), 8);
    put_array(&b, "nans", BK_GGUF_F32, 2);
    put(&b, f32_bits(1), 4);
    put(&b, 0x7FC00000, 4);
    put_array(&b, "big", BK_GGUF_U32, 2);
    put(&b, INT32_MAX, 4);
    put(&b, 0x80000000u, 4);
    put_array(&b, "low", BK_GGUF_I64, 2);
    put(&b, (uint64_t)(int64_t)INT32_MIN, 8);
    put(&b, (uint64_t)((int64_t)INT32_MIN - 1), 8);
    assert_int_equal(parse(b.data, b.len, &copy, &g, &e), BK_OK);
    REFUSED(bk_gguf_f32(g, "nan", -1, 1, &f, &e), "key 'nan': found nan, wanted -1 to 1");
    assert_int_equal(bk_gguf_f32(g, "inf", 0, (float)INFINITY, &f, &e), BK_ERR_FORMAT);
    assert_int_equal(bk_gguf_f32(g, "huge", 0, (float)INFINITY, &f, &e), BK_ERR_FORMAT);
    REFUSED(bk_gguf_f32_array(g, "nans", &scores, &n, &e),
            "key 'nans': element 1 is nan, wanted a finite number");
    REFUSED(bk_gguf_i32_array(g, "big", &ids, &n, &e),
            "key 'big': element 1 is 2147483648, wanted -2147483648 to 2147483647");
    REFUSED(bk_gguf_i32_array(g, "low", &ids, &n, &e),
            "key 'low': element 1 is -2147483649, wanted -2147483648 to 2147483647");
    bk_gguf_destroy(&g);
    free(copy);
    bk_buf_free(&b);
}

/* ---- Bad files ------------------------------------------------------------------------------ */

/* A small file, one thing of which is wrong; what is zero here is right. */
typedef struct spec {
    const char *magic;
    uint64_t n_kv, n_tensors, key_len;
    uint32_t version, type;
    const char *key, *second_key; /* "k" */
    const char *value;            /* of key, `bytes` long; with type */
    size_t bytes;
    const char *name, *second_name; /* "w" */
    uint64_t name_len, ne[4], offset, second_offset;
    uint32_t n_dims, tensor_type;
    bool no_dims;
    bk_status status;
    const char *text;
} spec;

static void put_spec(bk_buf *b, const spec *s) {
    bk_buf_append_str(b, s->magic ? s->magic : "GGUF");
    put(b, s->version ? s->version : 3, 4);
    put(b, s->n_tensors ? s->n_tensors : s->second_name ? 2 : 1, 8);
    put(b, s->n_kv ? s->n_kv : s->second_key ? 2 : 1, 8);
    const char *key = s->key ? s->key : "k";
    put(b, s->key_len ? s->key_len : strlen(key), 8);
    bk_buf_append_str(b, key);
    put(b, s->type, 4);
    bk_buf_append(b, s->value ? s->value : "\1", s->value ? s->bytes : 1);
    if (s->second_key) put_number(b, s->second_key, BK_GGUF_U8, 1, 1);
    const char *name = s->name ? s->name : "w";
    uint32_t n_dims = s->no_dims ? 0 : s->n_dims ? s->n_dims : 1;
    put(b, s->name_len ? s->name_len : strlen(name), 8);
    bk_buf_append_str(b, name);
    put(b, n_dims, 4);
    for (uint32_t d = 0; d < n_dims && d < 4; d++) put(b, s->ne[0] ? s->ne[d] : d ? 0 : 32, 8);
    put(b, s->tensor_type, 4);
    put(b, s->offset, 8);
    if (s->second_name) put_tensor(b, s->second_name, 1, (uint64_t[]){32}, 0, s->second_offset);
    pad(b, 32);
    for (int i = 0; i < 256; i++) bk_buf_putc(b, (char)i);
}

#define BAD(wanted) .status = BK_ERR_FORMAT, .text = wanted
#define UNKNOWN(wanted) .status = BK_ERR_UNSUPPORTED, .text = wanted
#define VALUE(literal) .value = literal, .bytes = sizeof(literal) - 1

static const spec bad_specs[] = {
    {.magic = "GGUX", BAD("not a GGUF file")},
    {.magic = "<htm", BAD("web page")},
    {.magic = "ggjt", BAD("old GGML")},
    {.version = 1, UNKNOWN("version 1, wanted 2 or 3")},
    {.version = 4, UNKNOWN("version 4, wanted 2 or 3")},
    {.version = 3u << 24, UNKNOWN("big-endian")},
    /* Counts that the file cannot hold, or that would wrap when multiplied. */
    {.n_kv = UINT64_MAX, BAD("18446744073709551615 keys")},
    {.n_kv = 60000, BAD("60000 keys")},
    {.n_tensors = UINT64_MAX, BAD("18446744073709551615 tensors")},
    {.n_tensors = (uint64_t)1 << 61, BAD("tensors")},
    {.n_tensors = 1000000, BAD("1000000 tensors")},
    /* Names. */
    {.key_len = UINT64_MAX, BAD("key 0")},
    {.key_len = 60000, BAD("key 0: its name has 60000 bytes but only")},
    {.key = "", BAD("key 0 (at byte 24): its name has 0 bytes")},
    {.name_len = (uint64_t)1 << 63, BAD("tensor 0")},
    {.name_len = 1000, BAD("tensor 0: its name has 1000 bytes but only")},
    {.name = "", BAD("tensor 0")},
    {.second_key = "k", BAD("key 'k' stands twice")},
    {.second_name = "w", .second_offset = 128, BAD("tensor 'w' stands twice")},
    /* Values. */
    {.type = 13, BAD("key 'k': its value has type 13")},
    {.type = UINT32_MAX, BAD("key 'k': its value has type 4294967295")},
    {.type = BK_GGUF_BOOL, VALUE("\2"), BAD("key 'k': a bool with the value 2")},
    {.type = BK_GGUF_STRING,
     VALUE("\xff\xff\xff\xff\xff\xff\xff\xff"),
     BAD("key 'k': its text has 18446744073709551615 bytes")},
    {.type = BK_GGUF_STRING,
     VALUE("\0\0\1\0\0\0\0\0"),
     BAD("key 'k': its text has 65536 bytes but only")},
    {.type = BK_GGUF_ARRAY,
     VALUE("\x0d\0\0\0\0\0\0\0\0\0\0\x10"),
     BAD("key 'k': its elements have type 13")},
    {.type = BK_GGUF_ARRAY,
     VALUE("\x09\0\0\0\1\0\0\0\0\0\0\0"),
     UNKNOWN("key 'k': an array of arrays")},
    {.type = BK_GGUF_ARRAY,
     VALUE("\x04\0\0\0\0\0\0\0\0\0\0\x40"),
     BAD("key 'k': an array of 4611686018427387904 elements")},
    {.type = BK_GGUF_ARRAY,
     VALUE("\x04\0\0\0\0\0\1\0\0\0\0\0"),
     BAD("key 'k': an array of 65536 elements needs at least 262144 bytes")},
    {.type = BK_GGUF_ARRAY,
     VALUE("\x08\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0x\0\0\1\0\0\0\0\0"),
     BAD("key 'k': element 1 has 65536 bytes but only")},
    /* Alignment. */
    {.key = "general.alignment",
     .type = BK_GGUF_U32,
     VALUE("\0\0\0\0"),
     BAD("key 'general.alignment': found 0")},
    {.key = "general.alignment",
     .type = BK_GGUF_U32,
     VALUE("\x30\0\0\0"),
     BAD("key 'general.alignment': found 48")},
    {.key = "general.alignment",
     .type = BK_GGUF_U32,
     VALUE("\4\0\0\0"),
     BAD("key 'general.alignment': found 4")},
    {.key = "general.alignment",
     .type = BK_GGUF_U32,
     VALUE("\0\0\0\x80"),
     BAD("key 'general.alignment': found 2147483648")},
    {.key = "general.alignment",
     .type = BK_GGUF_I32,
     VALUE("\x20\0\0\0"),
     BAD("key 'general.alignment' is int32")},
    /* Shapes. */
    {.no_dims = true, BAD("tensor 'w': 0 dimensions")},
    {.n_dims = 5, BAD("tensor 'w': 5 dimensions")},
    {.n_dims = UINT32_MAX, BAD("tensor 'w': 4294967295 dimensions")},
    {.n_dims = 2, .ne = {32, 0}, BAD("tensor 'w': dimension 1 is 0")},
    {.ne = {UINT64_MAX}, BAD("tensor 'w': dimension 0 is 18446744073709551615")},
    {.n_dims = 2,
     .ne = {((uint64_t)1 << 42) + 1, (uint64_t)1 << 42},
     BAD("tensor 'w': dimension 1")},
    {.n_dims = 4, .ne = {1 << 16, 1 << 16, 1 << 16, 1 << 16}, BAD("tensor 'w': dimension 3")},
    {.ne = {(uint64_t)1 << 62}, BAD("tensor 'w': 4611686018427387904 elements")},
    {.tensor_type = BK_TYPE_Q4_1,
     .ne = {33},
     BAD("tensor 'w': rows of 33 elements, wanted a "
         "multiple of 32 for type Q4_1")},
    {.tensor_type = BK_TYPE_Q4_K, .ne = {128}, BAD("multiple of 256 for type Q4_K")},
    {.tensor_type = 40, UNKNOWN("tensor 'w': its type NVFP4")},
    {.tensor_type = 4000, BAD("tensor 'w': its type 4000 is not defined")},
    {.tensor_type = 31, BAD("tensor 'w': its type 31 is not defined")},
    /* Extents. */
    {.offset = 1, BAD("tensor 'w': its offset 1 is not a multiple of the alignment 32")},
    {.offset = 160, BAD("tensor 'w': data ends at byte 384 but the file has 352 bytes")},
    {.ne = {65}, BAD("tensor 'w': data ends")},
    {.offset = UINT64_MAX - 31, BAD("tensor 'w': its offset 18446744073709551584")},
    {.offset = (uint64_t)1 << 63, BAD("tensor 'w': data ends at byte 9223372036854776032")},
    {.second_name = "v",
     .second_offset = 96,
     BAD("tensor 'v': its data overlaps that of tensor 'w'")},
    {.second_name = "v", BAD("overlaps")},
    {.offset = 96, .second_name = "v", BAD("tensor 'w': its data overlaps that of tensor 'v'")},
    /* Control bytes do not pass through. */
    {.name = "\x1b]0;x\a", .tensor_type = 40, UNKNOWN("tensor '\\x1b]0;x\\x07'")},
};

static void bad_files_refused(void **state) {
    (void)state;
    spec good = {0};
    bk_buf b = {0};
    uint8_t *copy;
    bk_gguf *g;
    bk_error e;
    put_spec(&b, &good);
    assert_int_equal(parse(b.data, b.len, &copy, &g, &e), BK_OK);
    bk_gguf_destroy(&g);
    free(copy);
    for (size_t i = 0; i < BK_ARRAY_LEN(bad_specs); i++) {
        bk_buf_clear(&b);
        put_spec(&b, &bad_specs[i]);
        bk_status status = parse(b.data, b.len, &copy, &g, &e);
        if (status != bad_specs[i].status || !strstr(e.text, bad_specs[i].text) ||
            strchr(e.text, '\n') || g) {
            fail_msg("case %zu: status %d, '%s'; wanted %d, '%s'", i, status, e.text,
                     bad_specs[i].status, bad_specs[i].text);
        }
        assert_int_equal(bk_gguf_parse(copy, b.len, &g, NULL), bad_specs[i].status);
        free(copy);
    }
    bk_buf_free(&b);
}

static void not_even_a_header(void **state) {
    (void)state;
    static const struct {
        const char *data, *text;
    } cases[] = {
        {"", "0 bytes"},
        {"GG", "2 bytes"},
        {"PK\3\4....", "zip archive"},
        {"\x1f\x8b....", "gzip"},
        {"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
        {"<!DOCTYPE html>", "web page"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        uint8_t *copy;
        bk_gguf *g;
        bk_error e;
        bk_status status = parse(cases[i].data, strlen(cases[i].data), &copy, &g, &e);
        assert_int_equal(status, BK_ERR_FORMAT);
        assert_non_null(strstr(e.text, cases[i].text));
        free(copy);
    }
}

/* Every typed access on every key of whatever was parsed. */
static void touch_all(const bk_gguf *g) {
    bk_error e;
    for (size_t i = 0; i < bk_gguf_n_kv(g); i++) {
        const bk_gguf_kv *kv = bk_gguf_kv_at(g, i);
        char *key = bk_strndup(kv->key.data, kv->key.len);
        uint32_t u;
        float f, *floats;
        bool flag;
        bk_str s, *strings;
        int32_t *ints;
        size_t n;
        (void)bk_gguf_u32(g, key, 0, UINT32_MAX, &u, &e);
        (void)bk_gguf_f32(g, key, -1, 1, &f, &e);
        (void)bk_gguf_bool(g, key, &flag, &e);
        (void)bk_gguf_str(g, key, &s, &e);
        if (bk_gguf_str_array(g, key, &strings, &n, &e) == BK_OK) bk_free(strings);
        if (bk_gguf_i32_array(g, key, &ints, &n, &e) == BK_OK) bk_free(ints);
        if (bk_gguf_f32_array(g, key, &floats, &n, &e) == BK_OK) bk_free(floats);
        bk_free(key);
    }
}

static void truncation_at_every_byte(void **state) {
    (void)state;
    bk_buf b = {0};
    put_good(&b, 3);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *copy;
        bk_gguf *g;
        bk_error e;
        if (parse(b.data, len, &copy, &g, &e) != BK_ERR_FORMAT) fail_msg("cut at byte %zu", len);
        assert_true(strlen(e.text) > 10 && !g);
        if (len >= 4) assert_non_null(strstr(e.text, "fetch it again"));
        free(copy);
    }
    bk_buf_free(&b);
}

/* Each byte with each bit turned, then random damage to several bytes: an answer or an error. */
static void damage(void **state) {
    (void)state;
    bk_buf b = {0};
    bk_rng r;
    size_t refused = 0;
    put_good(&b, 3);
    bk_rng_seed(&r, 3, 1);
    for (size_t i = 0; i < 8 * b.len + 20000; i++) {
        bk_gguf *g;
        bk_error e;
        uint8_t *copy = malloc(b.len);
        memcpy(copy, b.data, b.len);
        if (i < 8 * b.len) {
            copy[i / 8] ^= (uint8_t)(1 << i % 8);
        } else {
            for (int k = 0; k < 3; k++) copy[bk_rng_u32(&r) % b.len] = (uint8_t)bk_rng_u32(&r);
        }
        if (bk_gguf_parse(copy, b.len, &g, &e) == BK_OK)
            touch_all(g);
        else
            refused++;
        bk_gguf_destroy(&g);
        free(copy);
    }
    assert_true(refused > 1000);
    bk_buf_free(&b);
}

/* Names chosen to be alike, and in falling order: neither lookup nor parsing minds. */
static void many_keys(void **state) {
    (void)state;
    enum { N = 20000 };
    bk_buf b = {0};
    uint8_t *copy;
    bk_gguf *g;
    bk_error e;
    char key[64];
    put_head(&b, 3, 0, N);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(key, sizeof key, "same.beginning.of.all.keys.%06u", N - i);
        put_number(&b, key, BK_GGUF_U32, i, 4);
    }
    uint64_t before = bk_alloc_count();
    assert_int_equal(parse(b.data, b.len, &copy, &g, &e), BK_OK);
    assert_true(bk_alloc_count() - before <= 8); /* none per key */
    for (uint32_t i = 0; i < N; i++) {
        uint32_t v = 0;
        snprintf(key, sizeof key, "same.beginning.of.all.keys.%06u", N - i);
        assert_int_equal(bk_gguf_u32(g, key, i, i, &v, &e), BK_OK);
    }
    bk_gguf_destroy(&g);
    free(copy);
    bk_buf_free(&b);
}

#ifdef BRISK_TESTING
/* In a process of its own, because the number of the failing allocation is read only once. Exit
 * status: 0 everything succeeded, 1 a clean NOMEM, 2 anything else. With nth 0 the number of
 * allocations that writing the file takes. */
static int child(int nth) {
    char text[16];
    bk_buf b = {0};
    bk_gguf *g = NULL;
    bk_error e = {0};
    bk_str *names;
    size_t n;
    snprintf(text, sizeof text, "%d", nth);
    setenv("BRISK_FAIL_ALLOC", text, 1);
    put_good(&b, 3);
    if (nth == 0) return (int)bk_alloc_count();
    bk_status status = bk_gguf_parse((const uint8_t *)b.data, b.len, &g, &e);
    if (status == BK_OK) status = bk_gguf_str_array(g, "t.names", &names, &n, &e);
    if (status == BK_OK) bk_free(names);
    bk_gguf_destroy(&g);
    bk_buf_free(&b);
    if (status == BK_OK) return 0;
    return status == BK_ERR_NOMEM && strstr(e.text, "memory") ? 1 : 2;
}

static int run_child(int nth) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(child(nth));
    assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void memory_runs_out(void **state) {
    (void)state;
    assert_int_equal(bk_alloc_count(), 0); /* has to be the first test */
    int first = run_child(0) + 1, nth = first, result;
    while ((result = run_child(nth)) == 1) nth++;
    assert_int_equal(result, 0);
    assert_true(nth - first >= 6);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef BRISK_TESTING
        cmocka_unit_test(memory_runs_out),
#endif
        cmocka_unit_test(reads_good_files),
        cmocka_unit_test(typed_access_refuses),
        cmocka_unit_test(values_refused),
        cmocka_unit_test(bad_files_refused),
        cmocka_unit_test(not_even_a_header),
        cmocka_unit_test(truncation_at_every_byte),
        cmocka_unit_test(damage),
        cmocka_unit_test(many_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
