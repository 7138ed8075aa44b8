#include "compress/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "format/gguf_build.h"
#include "sys/file.h"

enum { MOST_ENTRIES = 1 << 20, MOST_NAME = 256 };
#define SQUARES ".in_sum2"
#define COUNTS ".counts"

void bk_imatrix_free(bk_imatrix *m) {
    for (size_t i = 0; i < m->n; i++) {
        bk_free(m->entries[i].name);
        bk_free(m->entries[i].squares);
        bk_free(m->entries[i].counts);
    }
    bk_free(m->entries);
    bk_free(m->text);
    *m = (bk_imatrix){0};
}

static bool grow(bk_imatrix *m) {
    if (m->n < m->cap) return true;
    size_t cap = m->cap ? 2 * m->cap : 64;
    void *p = bk_realloc(m->entries, cap, sizeof *m->entries);
    if (!p) return false;
    m->entries = p;
    m->cap = cap;
    return true;
}

bk_imatrix_entry *bk_imatrix_add(bk_imatrix *m, bk_str name, size_t k, size_t n_matrices) {
    size_t n;
    if (k == 0 || n_matrices == 0 || !bk_mul_size(k, n_matrices, &n) || !grow(m)) return NULL;
    bk_imatrix_entry e = {.name = bk_strndup(name.data, name.len),
                          .k = k,
                          .n_matrices = n_matrices};
    e.squares = bk_alloc_zero(n, sizeof *e.squares);
    e.counts = bk_alloc_zero(n_matrices, sizeof *e.counts);
    m->entries[m->n++] = e;
    return e.name && e.squares && e.counts ? &m->entries[m->n - 1] : NULL;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const bk_imatrix_entry *)a)->name, ((const bk_imatrix_entry *)b)->name);
}

void bk_imatrix_sort(bk_imatrix *m) {
    if (m->n) qsort(m->entries, m->n, sizeof *m->entries, by_name);
}

const bk_imatrix_entry *bk_imatrix_find(const bk_imatrix *m, bk_str name) {
    char text[MOST_NAME];
    if (!m || m->n == 0 || name.len >= sizeof text) return NULL;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    bk_imatrix_entry key = {.name = text};
    return bsearch(&key, m->entries, m->n, sizeof *m->entries, by_name);
}

bool bk_imatrix_means(const bk_imatrix_entry *e, size_t matrix, float *out) {
    if (matrix >= e->n_matrices || !(e->counts[matrix] > 0)) return false;
    const float *sums = e->squares + matrix * e->k;
    for (size_t i = 0; i < e->k; i++) out[i] = sums[i] / e->counts[matrix];
    return true;
}

static bk_status check_values(const bk_imatrix_entry *e, bk_error *err) {
    for (size_t i = 0; i < e->k * e->n_matrices; i++)
        if (!(e->squares[i] >= 0) || isinf(e->squares[i]))
            return bk_fail(err, BK_ERR_FORMAT, "'%.100s': value %zu is %g, a sum of squares wanted",
                           e->name, i, (double)e->squares[i]);
    for (size_t i = 0; i < e->n_matrices; i++)
        if (!(e->counts[i] >= 0) || isinf(e->counts[i]))
            return bk_fail(err, BK_ERR_FORMAT, "'%.100s': a count of %g", e->name,
                           (double)e->counts[i]);
    return BK_OK;
}

/* ---- The form of before ------------------------------------------------------------------------- */

/* int32 entries; for each int32 length, name, int32 calls, int32 values, floats: means of x^2 times
 * calls. Then perhaps int32 calls of all, int32 length, name of the text. */
typedef struct reader {
    const uint8_t *p;
    size_t left;
} reader;

static bool take(reader *r, void *out, size_t n) {
    if (r->left < n) return false;
    memcpy(out, r->p, n);
    r->p += n;
    r->left -= n;
    return true;
}

static bool take_count(reader *r, size_t most, size_t *out) {
    uint8_t b[4];
    if (!take(r, b, 4)) return false;
    *out = (size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
    return *out <= most;
}

static bool take_text(reader *r, bk_str *out) {
    size_t n;
    if (!take_count(r, MOST_NAME - 1, &n) || n > r->left) return false;
    *out = (bk_str){(const char *)r->p, n};
    r->p += n;
    r->left -= n;
    return true;
}

static bk_status old_entry(reader *r, bk_imatrix *m, bk_error *err) {
    bk_str name;
    size_t calls, n;
    if (!take_text(r, &name) || !take_count(r, INT32_MAX, &calls) ||
        !take_count(r, r->left / sizeof(float), &n) || n == 0)
        return bk_fail(err, BK_ERR_FORMAT,
                       "no importance matrix: a name and values wanted after %zu", m->n);
    bk_imatrix_entry *e = bk_imatrix_add(m, name, n, 1);
    if (!e) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu values", n);
    take(r, e->squares, n * sizeof(float));
    e->counts[0] = calls ? (float)calls : 1;
    return check_values(e, err);
}

static bk_status parse_old(reader r, bk_imatrix *m, bk_error *err) {
    size_t n, calls;
    bk_str text;
    if (!take_count(&r, MOST_ENTRIES, &n) || n == 0)
        return bk_fail(err, BK_ERR_FORMAT,
                       "no importance matrix: neither GGUF nor a list of names");
    for (size_t i = 0; i < n; i++) {
        bk_status st = old_entry(&r, m, err);
        if (st) return st;
    }
    if (take_count(&r, INT32_MAX, &calls) && take_text(&r, &text)) {
        m->chunks = (uint32_t)calls;
        m->text = bk_strndup(text.data, text.len);
    }
    return BK_OK;
}

/* ---- GGUF --------------------------------------------------------------------------------------- */

static bool ends(bk_str s, bk_str tail) {
    return s.len > tail.len && memcmp(s.data + s.len - tail.len, tail.data, tail.len) == 0;
}

static const bk_gguf_tensor *counts_of(const bk_gguf *g, bk_str name) {
    char text[MOST_NAME + sizeof COUNTS];
    if (name.len >= MOST_NAME) return NULL;
    snprintf(text, sizeof text, BK_STR_FMT COUNTS, (int)name.len, name.data);
    return bk_gguf_find_tensor(g, text);
}

static bk_status new_entry(const bk_gguf *g, const bk_gguf_tensor *t, bk_imatrix *m,
                           bk_error *err) {
    bk_str name = {t->name.data, t->name.len - BK_STR(SQUARES).len};
    const bk_gguf_tensor *c = counts_of(g, name);
    if (!c || t->type->type != BK_TYPE_F32 || c->type->type != BK_TYPE_F32 ||
        c->n_elements != t->n_elements / t->ne[0])
        return bk_fail(err, BK_ERR_FORMAT,
                       "'" BK_STR_FMT "': F32 sums, and F32 counts of as many matrices wanted",
                       BK_STR_ARG(name));
    bk_imatrix_entry *e = bk_imatrix_add(m, name, (size_t)t->ne[0], (size_t)c->n_elements);
    if (!e) return bk_fail(err, BK_ERR_NOMEM, "no memory for an importance matrix");
    memcpy(e->squares, t->data, t->bytes);
    memcpy(e->counts, c->data, c->bytes);
    return check_values(e, err);
}

static bk_status parse_new(const bk_gguf *g, bk_imatrix *m, bk_error *err) {
    bk_str *texts = NULL;
    size_t n_texts = 0;
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        if (!ends(t->name, BK_STR(SQUARES))) continue;
        bk_status st = new_entry(g, t, m, err);
        if (st) return st;
    }
    if (m->n == 0)
        return bk_fail(err, BK_ERR_FORMAT,
                       "a GGUF file without NAME" SQUARES ": no importance matrix");
    bk_gguf_u32(g, "imatrix.chunk_count", 0, UINT32_MAX, &m->chunks, NULL);
    bk_gguf_u32(g, "imatrix.chunk_size", 0, UINT32_MAX, &m->window, NULL);
    if (bk_gguf_str_array(g, "imatrix.datasets", &texts, &n_texts, NULL) == BK_OK && n_texts)
        m->text = bk_strndup(texts[0].data, texts[0].len);
    bk_free(texts);
    return BK_OK;
}

/* ---- Files -------------------------------------------------------------------------------------- */

static bk_status check_twice(const bk_imatrix *m, bk_error *err) {
    for (size_t i = 1; i < m->n; i++)
        if (strcmp(m->entries[i - 1].name, m->entries[i].name) == 0)
            return bk_fail(err, BK_ERR_FORMAT, "'%.100s' stands there twice", m->entries[i].name);
    return BK_OK;
}

bk_status bk_imatrix_parse(const uint8_t *data, size_t size, bk_imatrix *out, bk_error *err) {
    bk_gguf *g = NULL;
    bk_status st = BK_OK;
    *out = (bk_imatrix){0};
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        st = bk_gguf_parse(data, size, &g, err);
        if (!st) st = parse_new(g, out, err);
        bk_gguf_destroy(&g);
    } else {
        st = parse_old((reader){data, size}, out, err);
    }
    bk_imatrix_sort(out);
    if (!st) st = check_twice(out, err);
    if (st) bk_imatrix_free(out);
    return st;
}

bk_status bk_imatrix_read(const char *path, bk_imatrix *out, bk_error *err) {
    bk_map map;
    bk_status st = bk_map_open(path, &map, err);
    if (st) return st;
    st = bk_imatrix_parse(map.data, map.size, out, err);
    bk_map_close(&map);
    if (st) bk_error_prefix(err, "%s", path);
    return st;
}

static void put_entry(bk_gguf_builder *b, const bk_imatrix_entry *e) {
    char name[MOST_NAME + sizeof SQUARES];
    uint64_t sums[] = {e->k, e->n_matrices}, counts[] = {1, e->n_matrices};
    snprintf(name, sizeof name, "%s" SQUARES, e->name);
    bk_gguf_builder_tensor(b, name, BK_TYPE_F32, 2, sums, (const uint8_t *)e->squares);
    snprintf(name, sizeof name, "%s" COUNTS, e->name);
    bk_gguf_builder_tensor(b, name, BK_TYPE_F32, 2, counts, (const uint8_t *)e->counts);
}

bk_status bk_imatrix_write(const bk_imatrix *m, const char *path, bk_error *err) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_str text = m->text ? bk_str_from(m->text) : BK_STR("");
    bk_gguf *g = NULL;
    bk_gguf_builder_str(b, "general.type", BK_STR("imatrix"));
    bk_gguf_builder_strs(b, "imatrix.datasets", &text, 1);
    bk_gguf_builder_u32(b, "imatrix.chunk_count", m->chunks);
    bk_gguf_builder_u32(b, "imatrix.chunk_size", m->window);
    for (size_t i = 0; i < m->n; i++) put_entry(b, &m->entries[i]);
    bk_status st = bk_gguf_builder_finish(&b, &g, err);
    if (!st) st = bk_gguf_write(g, path, NULL, err);
    bk_gguf_destroy(&g);
    if (st) bk_error_prefix(err, "%s", path);
    return st;
}
