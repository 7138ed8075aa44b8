/* Typed access: no value is used before its stored type and its range have been checked. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "format/gguf_bytes.h"

const char *bk_gguf_type_name(uint32_t type) {
    static const char *const names[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                        "int32",  "float32", "bool",   "string", "array",
                                        "uint64", "int64",   "float64"};
    return type < BK_ARRAY_LEN(names) ? names[type] : "?";
}

/* "key 'x' is an array of int32, wanted a string". */
static bk_status fail_kind(const bk_gguf_kv *kv, const char *wanted, bk_error *err) {
    bool array = kv->type == BK_GGUF_ARRAY;
    return bk_fail(err, BK_ERR_FORMAT, "key '" BK_STR_FMT "' is %s%s, wanted %s", NAME_ARG(kv->key),
                   array ? "an array of " : "", bk_gguf_type_name(kv->elem_type), wanted);
}

static bool is_int(bk_gguf_type type) {
    return type <= BK_GGUF_I32 || type == BK_GGUF_U64 || type == BK_GGUF_I64;
}

static bool is_float(bk_gguf_type type) { return type == BK_GGUF_F32 || type == BK_GGUF_F64; }

/* Any integer as a sign and a magnitude, so that uint64 and int64 fit alike. */
typedef struct whole {
    bool negative;
    uint64_t magnitude;
} whole;

static whole load_int(bk_gguf_type type, const uint8_t *p) {
    size_t size = bk_gguf_type_size(type);
    uint64_t v = bk_le(p, size), sign = (uint64_t)1 << (8 * size - 1);
    bool is_signed =
        type == BK_GGUF_I8 || type == BK_GGUF_I16 || type == BK_GGUF_I32 || type == BK_GGUF_I64;
    if (!is_signed || !(v & sign)) return (whole){false, v};
    /* Extended to 64 bits by subtracting the sign's weight, then negated. */
    return (whole){true, ~((v ^ sign) - sign) + 1};
}

static double load_float(bk_gguf_type type, const uint8_t *p) {
    if (type == BK_GGUF_F32) {
        uint32_t bits = bk_le32(p);
        float f;
        memcpy(&f, &bits, sizeof f);
        return (double)f;
    }
    uint64_t bits = bk_le64(p);
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* Finite, and inside a float's range. */
static bool fits_float(double v) { return fabs(v) <= (double)FLT_MAX; }

/* ---- Scalars -------------------------------------------------------------------------------- */

bk_status bk_gguf_u32(const bk_gguf *g, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                      bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (!is_int(kv->type)) return fail_kind(kv, "an integer", err);
    whole v = load_int(kv->type, kv->data);
    if (v.negative || v.magnitude < min || v.magnitude > max) {
        return bk_fail(err, BK_ERR_FORMAT, "key '" BK_STR_FMT "': found %s%llu, wanted %u to %u",
                       NAME_ARG(kv->key), v.negative ? "-" : "", (unsigned long long)v.magnitude,
                       min, max);
    }
    *out = (uint32_t)v.magnitude;
    return BK_OK;
}

bk_status bk_gguf_f32(const bk_gguf *g, const char *key, float min, float max, float *out,
                      bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (!is_float(kv->type)) return fail_kind(kv, "a float", err);
    double v = load_float(kv->type, kv->data);
    if (!(v >= (double)min && v <= (double)max && fits_float(v))) { /* a NaN fails all three */
        return bk_fail(err, BK_ERR_FORMAT, "key '" BK_STR_FMT "': found %g, wanted %g to %g",
                       NAME_ARG(kv->key), v, (double)min, (double)max);
    }
    *out = (float)v;
    return BK_OK;
}

bk_status bk_gguf_bool(const bk_gguf *g, const char *key, bool *out, bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (kv->type != BK_GGUF_BOOL) return fail_kind(kv, "bool", err);
    *out = kv->data[0] != 0;
    return BK_OK;
}

bk_status bk_gguf_str(const bk_gguf *g, const char *key, bk_str *out, bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (kv->type != BK_GGUF_STRING) return fail_kind(kv, "a string", err);
    *out = (bk_str){(const char *)kv->data, kv->bytes};
    return BK_OK;
}

/* ---- Arrays --------------------------------------------------------------------------------- */

static bk_status fail_array_memory(const bk_gguf_kv *kv, bk_error *err) {
    return bk_fail(err, BK_ERR_NOMEM, "key '" BK_STR_FMT "': no memory for %zu elements",
                   NAME_ARG(kv->key), kv->n);
}

bk_status bk_gguf_str_array(const bk_gguf *g, const char *key, bk_str **out, size_t *n,
                            bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (kv->type != BK_GGUF_ARRAY || kv->elem_type != BK_GGUF_STRING) {
        return fail_kind(kv, "an array of strings", err);
    }
    bk_str *list = bk_alloc(kv->n, sizeof *list);
    if (!list) return fail_array_memory(kv, err);
    size_t pos = 0;
    for (size_t i = 0; i < kv->n; i++) {
        /* Lengths were checked when the header was read, but somebody may have written to the
         * mapped file since. */
        uint64_t len = kv->bytes - pos >= 8 ? bk_le64(kv->data + pos) : UINT64_MAX;
        if (len > kv->bytes - pos || len > kv->bytes - pos - 8) {
            bk_free(list);
            return bk_fail(err, BK_ERR_IO,
                           "key '" BK_STR_FMT "': the file changed while it was read",
                           NAME_ARG(kv->key));
        }
        list[i] = (bk_str){(const char *)kv->data + pos + 8, (size_t)len};
        pos += 8 + (size_t)len;
    }
    *out = list;
    *n = kv->n;
    return BK_OK;
}

bk_status bk_gguf_i32_array(const bk_gguf *g, const char *key, int32_t **out, size_t *n,
                            bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (kv->type != BK_GGUF_ARRAY || !is_int(kv->elem_type)) {
        return fail_kind(kv, "an array of integers", err);
    }
    int32_t *list = bk_alloc(kv->n, sizeof *list);
    if (!list) return fail_array_memory(kv, err);
    size_t size = bk_gguf_type_size(kv->elem_type);
    for (size_t i = 0; i < kv->n; i++) {
        whole v = load_int(kv->elem_type, kv->data + i * size);
        if (v.magnitude > (uint64_t)INT32_MAX + v.negative) {
            bk_free(list);
            return bk_fail(err, BK_ERR_FORMAT,
                           "key '" BK_STR_FMT "': element %zu is %s%llu, wanted %d to %d",
                           NAME_ARG(kv->key), i, v.negative ? "-" : "",
                           (unsigned long long)v.magnitude, INT32_MIN, INT32_MAX);
        }
        list[i] = (int32_t)(v.negative ? -(int64_t)v.magnitude : (int64_t)v.magnitude);
    }
    *out = list;
    *n = kv->n;
    return BK_OK;
}

bk_status bk_gguf_f32_array(const bk_gguf *g, const char *key, float **out, size_t *n,
                            bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_ERR_NOT_FOUND;
    if (kv->type != BK_GGUF_ARRAY || !is_float(kv->elem_type)) {
        return fail_kind(kv, "an array of floats", err);
    }
    float *list = bk_alloc(kv->n, sizeof *list);
    if (!list) return fail_array_memory(kv, err);
    size_t size = bk_gguf_type_size(kv->elem_type);
    for (size_t i = 0; i < kv->n; i++) {
        double v = load_float(kv->elem_type, kv->data + i * size);
        if (!fits_float(v)) {
            bk_free(list);
            return bk_fail(err, BK_ERR_FORMAT,
                           "key '" BK_STR_FMT "': element %zu is %g, wanted a finite "
                           "number",
                           NAME_ARG(kv->key), i, v);
        }
        list[i] = (float)v;
    }
    *out = list;
    *n = kv->n;
    return BK_OK;
}
