#include "measure/npy.h"

#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numbers are read and written in little-endian order"
#endif

/* ---- The header: a Python dictionary in text ---------------------------------------------------- */

static void skip_space(bk_str *s) {
    while (s->len > 0 && (*s->data == ' ' || *s->data == '\n')) s->data++, s->len--;
}

/* What follows 'key': in the header. */
static bool find_value(bk_str header, const char *key, bk_str *out) {
    size_t n = strlen(key);
    for (size_t i = 0; i + n + 2 < header.len; i++) {
        const char *at = header.data + i;
        if (*at != '\'' || memcmp(at + 1, key, n) != 0 || at[n + 1] != '\'') continue;
        *out = (bk_str){at + n + 2, header.len - i - n - 2};
        skip_space(out);
        if (out->len == 0 || *out->data != ':') return false;
        out->data++, out->len--;
        skip_space(out);
        return true;
    }
    return false;
}

static bool take(bk_str *s, char c) {
    skip_space(s);
    if (s->len == 0 || *s->data != c) return false;
    s->data++, s->len--;
    return true;
}

static bool take_number(bk_str *s, size_t *out) {
    skip_space(s);
    size_t v = 0, digits = 0;
    for (; s->len > 0 && *s->data >= '0' && *s->data <= '9'; digits++) {
        if (!bk_mul_size(v, 10, &v) || !bk_add_size(v, (size_t)(*s->data - '0'), &v)) return false;
        s->data++, s->len--;
    }
    *out = v;
    return digits > 0;
}

static bk_status parse_header(bk_str header, bk_npy *f, bk_error *err) {
    bk_str v;
    if (!find_value(header, "descr", &v)) return bk_fail(err, BK_ERR_FORMAT, "no 'descr'");
    if (bk_str_starts(v, BK_STR("'<f4'"))) {
        f->item = 4;
    } else if (bk_str_starts(v, BK_STR("'<f8'"))) {
        f->item = 8;
    } else {
        v.len = bk_min_size(v.len, 8);
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "numbers of type " BK_STR_FMT ", '<f4' or '<f8' are wanted", BK_STR_ARG(v));
    }
    if (!find_value(header, "fortran_order", &v) || !bk_str_starts(v, BK_STR("False"))) {
        return bk_fail(err, BK_ERR_UNSUPPORTED, "not in C order ('fortran_order': False)");
    }
    bool good = find_value(header, "shape", &v) && take(&v, '(') && take_number(&v, &f->rows) &&
                take(&v, ',') && take_number(&v, &f->cols);
    if (good) take(&v, ',');
    if (!good || !take(&v, ')')) {
        return bk_fail(err, BK_ERR_FORMAT, "its shape is not (rows, columns)");
    }
    return BK_OK;
}

static bk_status parse(bk_npy *f, bk_error *err) {
    const uint8_t *p = f->map.data;
    size_t size = f->map.size;
    if (size < 12 || memcmp(p, "\x93NUMPY", 6) != 0) {
        return bk_fail(err, BK_ERR_FORMAT, "not a .npy file");
    }
    if (p[6] < 1 || p[6] > 3) {
        return bk_fail(err, BK_ERR_UNSUPPORTED, ".npy version %d, 1 to 3 are known", p[6]);
    }
    size_t start = p[6] == 1 ? 10 : 12, len = (size_t)p[8] | (size_t)p[9] << 8;
    if (p[6] > 1) len |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (len > size - start) return bk_fail(err, BK_ERR_FORMAT, "the header is cut off");
    bk_status st = parse_header((bk_str){(const char *)p + start, len}, f, err);
    if (st) return st;
    size_t bytes, left = size - start - len;
    if (!bk_mul_size(f->rows, f->cols, &bytes) || !bk_mul_size(bytes, f->item, &bytes) ||
        bytes > left) {
        return bk_fail(err, BK_ERR_FORMAT, "%zu bytes of data for %zu x %zu numbers of %zu bytes",
                       left, f->rows, f->cols, f->item);
    }
    f->data = p + start + len;
    return BK_OK;
}

bk_status bk_npy_open(const char *path, bk_npy *out, bk_error *err) {
    *out = (bk_npy){0};
    bk_status st = bk_map_open(path, &out->map, err);
    if (st) return st;
    st = parse(out, err);
    if (st) {
        bk_error_prefix(err, "%s", path);
        bk_npy_close(out);
    }
    return st;
}

void bk_npy_close(bk_npy *f) {
    if (f->map.data) bk_map_close(&f->map);
    *f = (bk_npy){0};
}

void bk_npy_row(const bk_npy *f, size_t i, double *out) {
    const uint8_t *row = f->data + i * f->cols * f->item;
    if (f->item == 8) {
        memcpy(out, row, f->cols * sizeof *out);
        return;
    }
    for (size_t c = 0; c < f->cols; c++) {
        float v;
        memcpy(&v, row + c * sizeof v, sizeof v);
        out[c] = (double)v;
    }
}

/* ---- Writing ------------------------------------------------------------------------------------ */

bk_status bk_npy_create(const char *path, size_t rows, size_t cols, bk_npy_writer *w,
                        bk_error *err) {
    *w = (bk_npy_writer){.rows = rows, .cols = cols};
    bk_status st = bk_file_begin(path, &w->file, err);
    if (st) return st;
    /* Magic, version, length and header together are a multiple of 64, ended by a newline. */
    enum { ALL = 128, BEFORE = 10 };
    char header[ALL + 1];
    int n =
        snprintf(header, sizeof header,
                 "\x93NUMPY%c%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                 1, 0, ALL - BEFORE, 0, rows, cols);
    memset(header + n, ' ', (size_t)(ALL - 1 - n));
    header[ALL - 1] = '\n';
    return bk_file_put(&w->file, header, ALL, err);
}

bk_status bk_npy_put(bk_npy_writer *w, const float *row, bk_error *err) {
    bk_status st = bk_file_put(&w->file, row, w->cols * sizeof *row, err);
    if (!st) w->written++;
    return st;
}

bk_status bk_npy_finish(bk_npy_writer *w, bk_error *err) {
    if (w->written == w->rows) return bk_file_commit(&w->file, err);
    return bk_fail(err, BK_ERR_INVALID, "%zu rows written, %zu announced", w->written, w->rows);
}

void bk_npy_abandon(bk_npy_writer *w) { bk_file_abandon(&w->file); }
