/* Heads that leave logits out: their rows, and how a pass has them. */
#include "model/head.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "model/arch.h"

/* ---- Loading -------------------------------------------------------------------------------------- */

/* The kept rows side by side, for the device to take. */
static void gather(const bk_head *h, const uint8_t *rows, size_t row_bytes, uint8_t *out) {
    for (size_t i = 0; i < h->words * 32; i++) {
        if (!bk_bit(h->keep, i)) continue;
        memcpy(out, rows + i * row_bytes, row_bytes);
        out += row_bytes;
    }
}

bk_status bk_head_load(bk_model *m, const bk_quant *type, const uint8_t *rows, bk_error *err) {
    bk_head *h = &m->head;
    bk_device *d = m->device;
    size_t k = (size_t)m->config.n_out, row_bytes = k / type->block_len * type->block_bytes;
    /* Less than the tensor itself has. */
    uint8_t *some = bk_alloc(h->n_kept, row_bytes);
    if (!some) return bk_fail(err, BK_ERR_NOMEM, "no memory for a head of %zu tokens", h->n_kept);
    bk_status st = d->ops->weight_create(d, type, h->n_kept, k, &h->kept, err);
    if (!st) {
        gather(h, rows, row_bytes, some);
        d->ops->weight_load(d, h->kept, some, 0, h->n_kept);
        m->meta.head_kept = h->n_kept;
        m->meta.head_bytes = bk_weight_bytes(h->kept);
        m->meta.resident_bytes += m->meta.head_bytes;
    }
    bk_free(some);
    return st;
}

bk_status bk_head_load_bias(bk_model *m, bk_error *err) {
    bk_head *h = &m->head;
    if (!m->weights.head_bias) return BK_OK;
    h->kept_bias = bk_arena_alloc(&m->arena, h->n_kept, sizeof *h->kept_bias);
    if (!h->kept_bias) return bk_fail(err, BK_ERR_NOMEM, "no memory for a head");
    for (size_t i = 0, n = 0; i < (size_t)m->config.n_vocab; i++)
        if (bk_bit(h->keep, i)) h->kept_bias[n++] = m->weights.head_bias[i];
    return BK_OK;
}

/* ---- What a pass may choose from ------------------------------------------------------------------ */

static void allow(uint32_t *bits, const int32_t *tokens, size_t n) {
    for (size_t i = 0; i < n; i++) bk_set_bit(bits, (size_t)tokens[i]);
}

void bk_head_allow(bk_pass *p, uint32_t *bits, const bk_rows *r) {
    const bk_head *h = &p->model->head;
    size_t bytes = h->words * sizeof *bits, end = bk_kv_len(r->kv) + r->n, seen = 0;
    if (!r->spare) p->whole = true;
    for (size_t i = 0; i < r->n_logits; i++, bits += h->words) {
        size_t now = end - r->n_logits + 1 + i; /* tokens that the row has seen */
        if (!r->spare) {
            memset(bits, 0xFF, bytes);
            continue;
        }
        memcpy(bits, i ? bits - h->words : h->keep, bytes);
        if (r->history) allow(bits, r->history + seen, now - seen);
        seen = now;
    }
}

void bk_head_list(bk_pass *p, const uint32_t *bits, int32_t *groups) {
    const bk_head *h = &p->model->head;
    p->n_groups = 0;
    if (p->whole) return;
    for (size_t w = 0; w < h->words; w++) {
        uint32_t more = 0;
        for (size_t r = 0; r < p->n_logits; r++) more |= bits[r * h->words + w] & ~h->keep[w];
        if (more & 0xFFFF) groups[p->n_groups++] = (int32_t)(2 * w);
        if (more >> 16) groups[p->n_groups++] = (int32_t)(2 * w + 1);
    }
}

bool bk_head_screens(const bk_model *m, const bk_rows *rows, size_t n, bk_screen *screen) {
    size_t count = 0;
    *screen =
        (bk_screen){.radius = m->head.radius, .share = m->head.share, .factor = m->head.factor};
    if (!m->head.coarse) return false;
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < rows[i].n_logits; r++) {
            if (count == BK_SCREEN_ROWS || !rows[i].spare || isinf(rows[i].margin)) return false;
            screen->margin[count++] = rows[i].margin;
        }
    }
    return count > 0;
}

void bk_head_count(const bk_pass *p) {
    bk_head *h = &((bk_model *)(uintptr_t)p->model)->head; /* counters are all that changes */
    atomic_fetch_add(p->screened ? &h->screened : &h->whole, p->n_logits);
    atomic_fetch_add(&h->computed, p->screen.computed);
}

void bk_head_counts(const bk_model *m, uint64_t *screened, uint64_t *computed, uint64_t *whole) {
    *screened = atomic_load(&m->head.screened);
    *computed = atomic_load(&m->head.computed);
    *whole = atomic_load(&m->head.whole);
}

/* ---- Recording ------------------------------------------------------------------------------------ */

static void record_cap(bk_pass *p, float *x, size_t n) {
    float cap = p->model->config.logit_cap;
    if (cap == 0) return;
    bk_cmd *c = bk_pass_add(p, BK_OP_SOFT_CAP, "soft cap", p->n_logits);
    c->soft_cap.x = x;
    c->soft_cap.n = c->soft_cap.ldx = n;
    c->soft_cap.cap = cap;
}

static bk_cmd *record_product(bk_pass *p, const char *what, bk_input in, const bk_weight *w,
                              const float *bias, float *y, size_t n) {
    bk_cmd *c = bk_pass_products(p, what, p->n_logits, in, false);
    bk_pass_product(c, w, y, n);
    c->product.bias[0] = bias;
    return c;
}

/* The kept logits go where they belong, -infinity where nothing does. */
static void record_spread(bk_pass *p, const float *kept) {
    const bk_head *h = &p->model->head;
    bk_cmd *c = bk_pass_add(p, BK_OP_SPREAD, "logits left out", p->n_logits);
    c->spread.x = kept;
    c->spread.ldx = h->n_kept;
    c->spread.keep = h->keep;
    c->spread.rank = h->rank;
    c->spread.allowed = p->allowed;
    c->spread.out = p->logits;
    c->spread.n = (size_t)p->model->config.n_vocab;
    c->spread.words = h->words;
    c->spread.cap = p->model->config.logit_cap;
}

void bk_head_record(bk_pass *p, const char *what, bk_input in) {
    const bk_model *m = p->model;
    const bk_weights *w = &m->weights;
    size_t n_vocab = (size_t)m->config.n_vocab;
    if (p->screened) {
        record_product(p, "head, coarse", in, m->head.coarse, w->head_bias, p->logits, n_vocab);
        bk_cmd *c =
            record_product(p, "head, screened", in, w->head, w->head_bias, p->logits, n_vocab);
        c->product.screen = &p->screen;
        return;
    }
    if (!m->head.kept || p->whole) {
        record_product(p, what, in, w->head, w->head_bias, p->logits, n_vocab);
        record_cap(p, p->logits, n_vocab);
        if (m->head.kept) record_spread(p, NULL);
        return;
    }
    record_product(p, "head, kept rows", in, m->head.kept, m->head.kept_bias, p->kept,
                   m->head.n_kept);
    if (p->n_groups) {
        bk_cmd *c = record_product(p, "head, rows of the prompt", in, w->head, w->head_bias,
                                   p->logits, n_vocab);
        c->product.groups = p->groups;
        c->product.n_groups = p->n_groups;
    }
    record_cap(p, p->kept, m->head.n_kept);
    record_spread(p, p->kept);
}
