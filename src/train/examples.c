#include "train/examples.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sys/file.h"

void bk_examples_shuffle(uint32_t *rows, size_t n, uint64_t seed, uint64_t pass) {
    bk_rng rng;
    bk_rng_seed(&rng, seed, pass);
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)(bk_rng_unit(&rng) * (double)i);
        uint32_t row = rows[i - 1];
        rows[i - 1] = rows[k];
        rows[k] = row;
    }
}

/* FNV-1a (Fowler, Noll and Vo 1991). */
static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_of(const bk_csv *c) {
    uint64_t h = hash_bytes(0xcbf29ce484222325u, c->x, c->rows * c->cols * sizeof *c->x);
    h = hash_bytes(h, c->y, c->rows * sizeof *c->y);
    for (size_t i = 0; i < c->n_classes; i++)
        h = hash_bytes(h, c->classes[i], strlen(c->classes[i]) + 1);
    return h;
}

/* ---- Split --------------------------------------------------------------------------------------- */

/* Streams of the generator: passes over the data have theirs from 0 on. */
static const uint64_t split_stream = 1u << 30;

/* rows[begin .. end) are of one class; how many of them are held out, so that the shares of all classes
 * together are right too. */
static size_t held_out(size_t begin, size_t end, double share) {
    size_t n =
        (size_t)floor((double)end * share + 0.5) - (size_t)floor((double)begin * share + 0.5);
    return n < end - begin ? n : end - begin - 1;
}

static bool split(bk_examples *e, double share, uint64_t seed) {
    const bk_csv *c = &e->table;
    uint32_t *rows = bk_alloc(c->rows, sizeof *rows);
    size_t *ends = bk_alloc_zero(c->n_classes + 1, sizeof *ends);
    e->order = bk_alloc(c->rows, sizeof *e->order);
    bool good = rows && ends && e->order;
    if (good) {
        for (size_t i = 0; i < c->rows; i++) ends[c->y[i] + 1]++;
        for (size_t k = 0; k < c->n_classes; k++) ends[k + 1] += ends[k];
        /* Now where each class begins; each row moves it on, up to its end. */
        for (size_t i = 0; i < c->rows; i++) rows[ends[c->y[i]]++] = (uint32_t)i;
        size_t begin = 0, valid = c->rows;
        for (size_t k = 0; k < c->n_classes; begin = ends[k++]) {
            size_t n = ends[k] - begin, out = held_out(begin, ends[k], share);
            bk_examples_shuffle(rows + begin, n, seed, split_stream + k);
            valid -= out;
            memcpy(e->order + valid, rows + begin, out * sizeof *rows);
            memcpy(e->order + e->n_train, rows + begin + out, (n - out) * sizeof *rows);
            e->n_train += n - out;
        }
        e->n_valid = c->rows - e->n_train;
        bk_examples_shuffle(e->order + e->n_train, e->n_valid, seed, split_stream - 1);
    }
    bk_free(rows);
    bk_free(ends);
    return good;
}

bk_status bk_examples_open(const char *path, float valid_share, uint64_t seed, bk_examples *out,
                           bk_error *err) {
    bk_examples e = {.n_train = 0};
    bk_buf text = {0};
    bk_status st = bk_file_read(path, &text, err);
    if (!st) {
        st = bk_csv_parse(bk_buf_view(&text), NULL, &e.table, err);
        if (st) bk_error_prefix(err, "%s", path);
    }
    bk_buf_free(&text);
    if (!st && e.table.rows > UINT32_MAX)
        st = bk_fail(err, BK_ERR_UNSUPPORTED, "%s: more than 2^32 examples", path);
    if (!st) {
        e.hash = hash_of(&e.table);
        if (!split(&e, valid_share, seed))
            st = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu examples", e.table.rows);
    }
    if (st)
        bk_examples_free(&e);
    else
        *out = e;
    return st;
}

void bk_examples_free(bk_examples *e) {
    bk_csv_free(&e->table);
    bk_free(e->order);
    *e = (bk_examples){.n_train = 0};
}

/* ---- Classes and scaling ------------------------------------------------------------------------- */

bk_status bk_examples_rename(bk_examples *e, const bk_str *names, size_t n, bk_error *err) {
    bk_csv *c = &e->table;
    int32_t *to = bk_alloc(c->n_classes, sizeof *to);
    if (!to) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu classes", c->n_classes);
    for (size_t i = 0; i < c->n_classes; i++) {
        size_t k = 0;
        while (k < n && !bk_str_eq(names[k], bk_str_from(c->classes[i]))) k++;
        if (k == n) {
            bk_free(to);
            return bk_fail(err, BK_ERR_FORMAT,
                           "class '%.60s' of the table is none of the model's %zu", c->classes[i],
                           n);
        }
        to[i] = (int32_t)k;
    }
    for (size_t i = 0; i < c->rows; i++) c->y[i] = to[c->y[i]];
    bk_free(to);
    return BK_OK;
}

void bk_examples_measure(const bk_examples *e, float *mean, float *factor) {
    const bk_csv *c = &e->table;
    double n = (double)e->n_train;
    for (size_t k = 0; k < c->cols; k++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < e->n_train; i++) sum += c->x[e->order[i] * c->cols + k];
        for (size_t i = 0; i < e->n_train; i++) {
            double d = c->x[e->order[i] * c->cols + k] - sum / n;
            squares += d * d;
        }
        double deviation = sqrt(squares / n);
        mean[k] = (float)(sum / n);
        /* What is left of a constant after rounding is no deviation. */
        factor[k] = deviation > 1e-6 * fabs(sum / n) ? (float)(1 / deviation) : 0;
    }
}

void bk_examples_scale(float *x, size_t rows, size_t cols, const float *mean, const float *factor) {
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < cols; k++) x[i * cols + k] = (x[i * cols + k] - mean[k]) * factor[k];
}
