/* The coarse copy of a head and how far its estimates may be off. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"

enum { SLICE = 1024 }; /* rows */

/* Room for one slice. */
typedef struct work {
    const bk_quant *type, *coarse;
    size_t k, row_bytes, coarse_bytes;
    float *row, *copy, *ones; /* [k] */
    uint8_t *blocks;          /* [SLICE][coarse_bytes] */
} work;

/* The upper half of a float that is not below x. */
static uint16_t half_up(double x) {
    float f = (float)(x * (1 + 1e-5));
    uint32_t bits;
    if (!(f <= 3e38f)) f = INFINITY;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits >> 16) + ((bits & 0xFFFF) != 0));
}

/* The length of what a row's terms are at most, whatever cancels in it: of |d (q - zero)| + |m|. */
static double size_of(const bk_quant *t, const uint8_t *row, size_t k) {
    double sum = 0;
    bk_canon c;
    for (size_t b = 0; b < k / 32; b++) {
        t->unpack(row, b, &c);
        for (size_t i = 0; i < 32; i++) {
            double v =
                fabs((double)c.d[i / 16]) * abs((int)c.q[i] - t->zero) + fabs((double)c.m[i / 16]);
            sum += v * v;
        }
    }
    return sqrt(sum);
}

/* How far the product of the copy may be from that of the row, for an input of length 1: what was rounded
 * away, and the floats' rounding in both products, which have at most 4 sums a block and a few more (Higham
 * 2002, section 3.1). */
static double radius_of(const work *w, const uint8_t *row, const uint8_t *copy, double *block) {
    double sum = 0, unit = (double)(w->k / 32 * 4 + 16) * 0x1p-23;
    bk_quant_dequantize(w->coarse, copy, w->copy, w->k);
    memset(block, 0, w->k / 32 * sizeof *block);
    for (size_t i = 0; i < w->k; i++) {
        double e = (double)w->row[i] - (double)w->copy[i];
        block[i / 32] += e * e;
    }
    for (size_t b = 0; b < w->k / 32; b++) sum += block[b];
    double floats = unit * (size_of(w->type, row, w->k) + size_of(w->coarse, copy, w->k));
    return isfinite(sum + floats) ? sqrt(sum) + floats : (double)INFINITY;
}

/* What is to be multiplied by the radius; all of it where the floats' rounding is no small part. */
static void share_out(const double *block, size_t n, double radius, uint8_t *share) {
    double sum = 0;
    for (size_t b = 0; b < n; b++) sum += block[b];
    bool plain = isfinite(radius) && radius - sqrt(sum) < radius / 1100;
    for (size_t b = 0; b < n; b++)
        share[b] = plain ? (uint8_t)fmin(255, ceil(255.001 * sqrt(block[b]) / radius)) : 255;
}

static void copy_rows(const work *w, const uint8_t *rows, size_t n, uint16_t *radius,
                      uint8_t *share) {
    double block[BK_SCREEN_BLOCKS];
    for (size_t r = 0; r < n; r++) {
        const uint8_t *row = rows + r * w->row_bytes;
        uint8_t *copy = w->blocks + r * w->coarse_bytes;
        bk_quant_dequantize(w->type, row, w->row, w->k);
        w->coarse->search(w->row, w->ones, copy, w->k);
        double most = radius_of(w, row, copy, block);
        radius[r] = half_up(most);
        share_out(block, w->k / 32, most, share + r * (w->k / 32));
    }
}

static bk_status check(const bk_model *m, const bk_quant *type, bk_error *err) {
    if (!type->bits || m->config.n_out % 32 || m->config.n_out / 32 > BK_SCREEN_BLOCKS)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "a head of type %s with rows of %d: a screen wants an integer format and a "
                       "multiple of 32 up to 8192",
                       type->name, m->config.n_out);
    if (m->config.logit_cap != 0)
        return bk_fail(err, BK_ERR_UNSUPPORTED, "a screen for logits with a soft cap");
    return BK_OK;
}

static bool make_work(work *w, const bk_quant *type, size_t k) {
    *w = (work){.type = type, .coarse = bk_quant_find(BK_TYPE_Q4_0), .k = k};
    w->row_bytes = k / type->block_len * type->block_bytes;
    w->coarse_bytes = k / w->coarse->block_len * w->coarse->block_bytes;
    w->row = bk_alloc(k, sizeof *w->row);
    w->copy = bk_alloc(k, sizeof *w->copy);
    w->ones = bk_alloc(k, sizeof *w->ones);
    w->blocks = bk_alloc(SLICE, w->coarse_bytes);
    for (size_t i = 0; w->ones && i < k; i++) w->ones[i] = 1;
    return w->row && w->copy && w->ones && w->blocks;
}

bk_status bk_head_screen(bk_model *m, const bk_quant *type, const uint8_t *rows, double z,
                         bk_error *err) {
    bk_head *h = &m->head;
    bk_device *d = m->device;
    size_t n = (size_t)m->config.n_vocab, k = (size_t)m->config.n_out;
    work w = {0};
    bk_status st = check(m, type, err);
    if (st) return st;
    h->factor = z > 0 ? fminf(1, (float)(z / sqrt((double)k))) : 1;
    h->radius = bk_alloc(n, sizeof *h->radius);
    h->share = bk_alloc(n, k / 32);
    if (!h->radius || !h->share || !make_work(&w, type, k))
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for a screen");
    if (!st) st = d->ops->weight_create(d, w.coarse, n, k, &h->coarse, err);
    for (size_t i = 0; i < n && !st; i += SLICE) {
        size_t count = bk_min_size(SLICE, n - i);
        copy_rows(&w, rows + i * w.row_bytes, count, h->radius + i, h->share + i * (k / 32));
        /* It wants row 0. */
        d->ops->weight_load(d, h->coarse, w.blocks - i * w.coarse_bytes, i, count);
    }
    bk_free(w.row);
    bk_free(w.copy);
    bk_free(w.ones);
    bk_free(w.blocks);
    if (st) return st;
    m->meta.head_bytes = bk_weight_bytes(h->coarse) + n * (sizeof *h->radius + k / 32);
    m->meta.resident_bytes += m->meta.head_bytes;
    m->meta.head_screen = true;
    return BK_OK;
}
