/* The safetensors reader and the JSON reader below it: a good file, every class of bad one refused with
 * a text that names the tensor, truncation at every byte, damage, memory that runs out. Inputs lie in
 * blocks of exactly their size, so that the address sanitizer sees any read past the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/rng.h"
#include "fail_alloc.h"
#include "format/safetensors.h"

/* A file of this header and n bytes of data. */
static uint8_t *make(const char *header, size_t n, size_t *size) {
    size_t len = strlen(header);
    uint8_t *file = malloc(8 + len + n);
    for (size_t i = 0; i < 8; i++) file[i] = (uint8_t)(len >> 8 * i);
    memcpy(file + 8, header, len);
    for (size_t i = 0; i < n; i++) file[8 + len + i] = (uint8_t)i;
    *size = 8 + len + n;
    return file;
}

static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"w\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[8,20]},"
                           "\"norm\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                           "\"none\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[20,20]},"
                           "\"ids\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}  ";

static void reads_a_good_file(void **state) {
    (void)state;
    size_t size;
    bk_safetensors *s;
    bk_error e = {0};
    uint8_t *file = make(good, 28, &size);
    assert_int_equal(bk_safetensors_parse(file, size, &s, &e), BK_OK);
    assert_int_equal(bk_safetensors_count(s), 4);
    const bk_st_tensor *w = bk_safetensors_find(s, "w"), *ids = bk_safetensors_find(s, "ids");
    assert_true(w && w->type && w->type->type == BK_TYPE_BF16 && w->n_dims == 2);
    assert_true(w->ne[0] == 2 && w->ne[1] == 3 && w->ne[2] == 1 && w->n_elements == 6);
    assert_true(w->bytes == 12 && w->data == file + size - 20);
    assert_true(ids && !ids->type && ids->n_dims == 0 && ids->n_elements == 1);
    assert_string_equal(ids->dtype, "I64");
    assert_int_equal(bk_safetensors_find(s, "none")->n_elements, 0);
    assert_null(bk_safetensors_find(s, "__metadata__"));
    assert_null(bk_safetensors_find(s, ""));
    assert_null(bk_safetensors_at(s, 4));
    bk_safetensors_destroy(&s);
    assert_null(s);
    free(file);
}

#define ONE(fields) "{\"w\":{" fields "}}"
#define SHAPE "\"shape\":[2],"
#define F32 "\"dtype\":\"F32\","
#define AT "\"data_offsets\":[0,8]"

static void bad_headers(void **state) {
    (void)state;
    static const struct {
        const char *header, *text;
    } bad[] = {
        {"[]", "begins with byte 5b"},
        {"{\"a\"}", "not JSON"},
        {"{\"w\":{},\"w\":{}}", "not JSON"},
        {"{\"a\":[[[[[[[[[]]]]]]]]]}", "nested"},
        {"{\"w\":3}", "tensor 'w': its entry"},
        {ONE(SHAPE AT), "'w': 'dtype'"},
        {ONE("\"dtype\":7," SHAPE AT), "'w': 'dtype'"},
        {ONE("\"dtype\":\"F33\"," SHAPE AT), "dtype 'F33' is not known"},
        {ONE(F32 AT), "'w': 'shape'"},
        {ONE(F32 "\"shape\":2," AT), "'w': 'shape'"},
        {ONE(F32 "\"shape\":[-2]," AT), "no whole number"},
        {ONE(F32 "\"shape\":[2.0]," AT), "no whole number"},
        {ONE(F32 "\"shape\":[1,1,1,1,2]," AT), "5 dimensions"},
        {ONE(F32 "\"shape\":[4294967296,4294967296]," AT), "addressed"},
        {ONE(F32 "\"shape\":[9223372036854775807,2]," AT), "addressed"},
        {ONE(F32 "\"shape\":[9223372036854775808]," AT), "not JSON"},
        {ONE(F32 "\"shape\":[4611686018427387904]," AT), "do not fill"},
        {ONE(F32 SHAPE "\"data_offsets\":[0]"), "'data_offsets'"},
        {ONE(F32 SHAPE "\"data_offsets\":[0,8,9]"), "'data_offsets'"},
        {ONE(F32 SHAPE "\"data_offsets\":[\"0\",8]"), "'data_offsets'"},
        {ONE(F32 SHAPE "\"data_offsets\":[-8,0]"), "from -8 to 0"},
        {ONE(F32 SHAPE "\"data_offsets\":[8,0]"), "from 8 to 0"},
        {ONE(F32 SHAPE "\"data_offsets\":[12,20]"), "ends at byte 20"},
        {ONE(F32 SHAPE "\"data_offsets\":[0,12]"), "do not fill 12 bytes"},
        {ONE("\"dtype\":\"F64\"," SHAPE AT), "do not fill 8 bytes"},
        {"{\"a\":{" F32 SHAPE AT "},\"b\":{" F32 SHAPE "\"data_offsets\":[4,12]}}", "overlaps"},
        {"{\"a\":{" F32 SHAPE AT "},\"b\":{" F32 SHAPE AT "}}", "overlaps"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        size_t size;
        bk_safetensors *s;
        bk_error e = {0};
        uint8_t *file = make(bad[i].header, 16, &size);
        assert_int_not_equal(bk_safetensors_parse(file, size, &s, &e), BK_OK);
        assert_null(s);
        if (!strstr(e.text, bad[i].text)) fail_msg("'%s' without '%s'", e.text, bad[i].text);
        free(file);
    }
}

static void bad_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {0, 1, 1u << 20, 101u << 20, UINT64_MAX, 1ull << 63};
    for (size_t i = 0; i < BK_ARRAY_LEN(lengths); i++) {
        size_t size;
        bk_safetensors *s;
        bk_error e = {0};
        uint8_t *file = make(good, 28, &size);
        for (size_t k = 0; k < 8; k++) file[k] = (uint8_t)(lengths[i] >> 8 * k);
        assert_int_equal(bk_safetensors_parse(file, size, &s, &e), BK_ERR_FORMAT);
        assert_non_null(strstr(e.text, "header"));
        free(file);
    }
}

static void cut_and_damaged(void **state) {
    (void)state;
    size_t size, opened = 0;
    bk_rng r;
    uint8_t *file = make(good, 28, &size);
    bk_safetensors *s;
    for (size_t n = 0; n < size; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, file, n);
        assert_int_not_equal(bk_safetensors_parse(copy, n, &s, NULL), BK_OK);
        free(copy);
    }
    bk_rng_seed(&r, 1, 1);
    for (int turn = 0; turn < 20000; turn++) {
        uint8_t *copy = malloc(size);
        memcpy(copy, file, size);
        for (uint32_t k = bk_rng_u32(&r) % 3; k < 3; k++)
            copy[bk_rng_u32(&r) % size] = (uint8_t)bk_rng_u32(&r);
        if (bk_safetensors_parse(copy, size, &s, NULL) == BK_OK) opened++;
        for (size_t i = 0; s && i < bk_safetensors_count(s); i++) {
            const bk_st_tensor *t = bk_safetensors_at(s, i);
            assert_true(t->data >= copy && t->data + t->bytes <= copy + size);
        }
        bk_safetensors_destroy(&s);
        free(copy);
    }
    assert_true(opened > 200); /* damage in the data is none of the header's business */
    free(file);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static bk_status parse(const char *text, int depth, bool unique, bk_error *e) {
    json_t *v;
    e->text[0] = '\0';
    bk_status s = bk_json_parse(bk_str_from(text), depth, unique, &v, e);
    assert_true((s == BK_OK) == (v != NULL));
    json_decref(v);
    return s;
}

static void json(void **state) {
    (void)state;
    bk_error e;
    json_t *v;
    assert_int_equal(parse("[[1]]", 2, true, &e), BK_OK);
    assert_int_equal(parse("[[[1]]]", 2, true, &e), BK_ERR_LIMIT);
    assert_int_equal(parse("[\"[[[[\\\"[[[\"]", 1, true, &e), BK_OK);
    assert_int_equal(parse("{\"a\":1,\"a\":2}", 1, false, &e), BK_OK);
    assert_int_equal(parse("{\"a\":1,\"a\":2}", 1, true, &e), BK_ERR_FORMAT);
    assert_int_equal(parse("3", 0, true, &e), BK_OK);
    assert_int_equal(parse("", 9, true, &e), BK_ERR_FORMAT);
    assert_int_equal(parse("{\n\"a\": x}", 9, true, &e), BK_ERR_FORMAT);
    assert_non_null(strstr(e.text, "line 2"));
    assert_int_equal(bk_json_parse(BK_STR("\"a\\u0000b\""), 1, true, &v, &e), BK_OK);
    assert_true(bk_str_eq(bk_json_text(v), ((bk_str){"a\0b", 3})));
    json_decref(v);
    assert_null(bk_json_text(NULL).data);
    bk_buf deep = {0};
    for (int i = 0; i < 1000000; i++) bk_buf_putc(&deep, '[');
    assert_int_equal(bk_json_parse(bk_buf_view(&deep), 64, true, &v, &e), BK_ERR_LIMIT);
    bk_buf_free(&deep);
}

/* ---- Memory --------------------------------------------------------------------------------- */

static int scenario(void) {
    size_t size;
    bk_safetensors *s;
    bk_error e = {0};
    uint8_t *file = make(good, 28, &size);
    bk_status status = bk_safetensors_parse(file, size, &s, &e);
    bk_safetensors_destroy(&s);
    free(file);
    if (status == BK_OK) return SWEEP_ALL_OK;
    return status == BK_ERR_NOMEM && strstr(e.text, "memory") ? SWEEP_FAILED_WELL : SWEEP_WRONG;
}

static void memory_runs_out(void **state) {
    (void)state;
#ifdef BRISK_TESTING
    assert_true(sweep_all("parse", 1) >= 3);
#else
    assert_int_equal(scenario(), SWEEP_ALL_OK);
#endif
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_good_file),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(bad_lengths),
        cmocka_unit_test(cut_and_damaged),
        cmocka_unit_test(json),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
