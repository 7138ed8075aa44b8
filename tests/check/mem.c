/* Guarded memory, random operands and comparison of the kernel checks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"

enum { MAX_MAPS = 64 };

static struct {
    void *at;
    size_t bytes;
} maps[MAX_MAPS];
static size_t n_maps;

void *check_mem(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = bk_round_up(bytes, page);
    char *p = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || n_maps == MAX_MAPS || mprotect(p + body, page, PROT_NONE) != 0) {
        fprintf(stderr, "check: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    maps[n_maps].at = p;
    maps[n_maps++].bytes = body + page;
    memset(p, 0x5A, body);
    return p + body - bytes;
}

float *check_floats(size_t n) { return check_mem(n * sizeof(float)); }

void check_release(void) {
    while (n_maps > 0) {
        n_maps--;
        munmap(maps[n_maps].at, maps[n_maps].bytes);
    }
}

/* ---- Operands ---------------------------------------------------------------------------------- */

unsigned check_below(check *c, unsigned n) { return bk_rng_u32(&c->rng) % n; }

float check_unit(check *c) { return (float)(2 * bk_rng_unit(&c->rng) - 1); }

static float any_bits(check *c) {
    uint32_t bits = bk_rng_u32(&c->rng);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float one(check *c, check_kind kind) {
    switch (kind) {
    case CHECK_ZERO: return check_below(c, 2) ? 0.0f : -0.0f;
    case CHECK_EQUAL: return check_below(c, 2) ? 1.7f : -1.7f;
    case CHECK_SUBNORMAL: return check_unit(c) * 1e-39f;
    case CHECK_HUGE: return check_unit(c) * 3.4e38f;
    case CHECK_MIXED: return check_unit(c) * powf(10, (float)((int)check_below(c, 61) - 30));
    case CHECK_NONFINITE:
        switch (check_below(c, 16)) {
        case 0: return NAN;
        case 1: return INFINITY;
        case 2: return -INFINITY;
        case 3: return any_bits(c);
        default: return check_unit(c);
        }
    default: return check_unit(c) * 3;
    }
}

void check_fill(check *c, check_kind kind, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = one(c, kind);
    if (kind == CHECK_OUTLIER && n > 0) x[check_below(c, (unsigned)n)] = 3000;
}

/* A format of bytes with one float scale and offset per 16: what a new format gets that fits nothing
 * better. half d; half m; byte qs[32]; w = d * (1 or 1/3) * (q - 128) + m * (1 or 1/5). */
static void unpack_any(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * 36;
    uint16_t d, m;
    memcpy(&d, b, 2);
    memcpy(&m, b + 2, 2);
    memcpy(out->q, b + 4, 32);
    out->d[0] = bk_f16_to_f32(d);
    out->d[1] = out->d[0] / 3;
    out->m[0] = bk_f16_to_f32(m);
    out->m[1] = out->m[0] / 5;
}

static void unpack_any_no_min(const void *row, size_t i, bk_canon *out) {
    unpack_any(row, i, out);
    out->m[0] = out->m[1] = 0;
}

/* Nibbles in the same block: a format whose zero only a plan named after a layout takes. */
static void unpack_any_nibbles(const void *row, size_t i, bk_canon *out) {
    unpack_any(row, i, out);
    for (size_t k = 0; k < 32; k++) out->q[k] &= 15;
}

static const bk_quant made_up[] = {
    {.name = "any",
     .block_len = 32,
     .block_bytes = 36,
     .layout = BK_LAYOUT_B8,
     .zero = 128,
     .sub = 16,
     .has_min = true,
     .bits = 8,
     .m_at = 2,
     .unpack = unpack_any},
    {.name = "any_no_min",
     .block_len = 32,
     .block_bytes = 36,
     .layout = BK_LAYOUT_B8,
     .zero = 128,
     .sub = 16,
     .bits = 8,
     .m_at = 2,
     .unpack = unpack_any_no_min},
    {.name = "any_nibbles",
     .block_len = 32,
     .block_bytes = 36,
     .layout = BK_LAYOUT_N4,
     .zero = 1,
     .sub = 16,
     .has_min = true,
     .bits = 4,
     .m_at = 2,
     .unpack = unpack_any_nibbles},
};

const bk_quant *check_type(size_t i) {
    for (uint32_t type = 0; type < 256; type++) {
        const bk_quant *q = bk_quant_find(type);
        if (q && q->layout != BK_LAYOUT_NONE && i-- == 0) return q;
    }
    return i < BK_ARRAY_LEN(made_up) ? &made_up[i] : NULL;
}

static void put_half(check *c, check_weights kind, uint8_t *p) {
    uint16_t h;
    if (kind == CHECK_W_SCALES) {
        do h = (uint16_t)bk_rng_u32(&c->rng);
        while ((h & 0x7C00) == 0x7C00);
    } else {
        h = bk_f32_to_f16(check_unit(c) * 0.05f);
    }
    memcpy(p, &h, sizeof h);
}

/* MXFP4 has powers of two, IQ1_M the four nibbles of a half on top of its last four words. */
static void put_scales(check *c, check_weights kind, const bk_quant *type, uint8_t *block) {
    if (type->type == BK_TYPE_MXFP4) {
        block[0] = (uint8_t)(kind == CHECK_W_SCALES ? 118 + check_below(c, 30) : 122);
        return;
    }
    if (type->type == BK_TYPE_IQ1_M) {
        uint8_t h[2];
        put_half(c, kind, h);
        for (int j = 0; j < 4; j++) {
            uint8_t *top = block + 49 + 2 * j;
            *top = (uint8_t)((*top & 15) | (h[j / 2] >> j % 2 * 4 & 15) << 4);
        }
        return;
    }
    if (type->type == BK_TYPE_Q8_AFFINE) {
        float f[2] = {check_unit(c) * 0.05f, check_unit(c)};
        if (kind == CHECK_W_SCALES) f[0] *= 60000, f[1] *= 60000;
        memcpy(block, f, sizeof f);
        return;
    }
    put_half(c, kind, block + type->d_at);
    if (type->m_at) put_half(c, kind, block + type->m_at);
}

/* A float weight: any finite bits with CHECK_W_SCALES, else like a model's. */
static void put_float(check *c, check_weights kind, bk_type type, uint8_t *p) {
    float f = check_unit(c);
    if (kind == CHECK_W_ZEROS) f = 0;
    if (kind == CHECK_W_SCALES) f *= 60000.0f;
    uint16_t h = type == BK_TYPE_F16 ? bk_f32_to_f16(f) : bk_f32_to_bf16(f);
    if (type == BK_TYPE_F32)
        memcpy(p, &f, sizeof f);
    else
        memcpy(p, &h, sizeof h);
}

uint8_t *check_blocks(check *c, check_weights kind, const bk_quant *type, size_t n_rows, size_t k) {
    size_t n = n_rows * (k / type->block_len), size = type->block_bytes;
    uint8_t *blocks = check_mem(n * size);
    uint8_t fill = kind == CHECK_W_ONES ? 0xFF : kind == CHECK_W_HIGH ? 0x80 : 0;
    bool random = kind == CHECK_W_RANDOM || kind == CHECK_W_SCALES || kind == CHECK_W_BITS;
    for (size_t i = 0; i < n * size; i++)
        blocks[i] = random ? (uint8_t)(bk_rng_u32(&c->rng) >> 13) : fill;
    if (kind == CHECK_W_BITS) return blocks;
    for (size_t i = 0; i < n; i++) {
        if (type->bits)
            put_scales(c, kind, type, blocks + i * size);
        else
            put_float(c, kind, type->type, blocks + i * size);
    }
    return blocks;
}

/* ---- Comparison --------------------------------------------------------------------------------- */

bool check_same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

bool check_same_floats(check *c, const char *what, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (check_same(got[i], want[i])) continue;
        check_fail(c, "%s: [%zu] of %zu is %.9g (%a), want %.9g (%a)", what, i, n, (double)got[i],
                   (double)got[i], (double)want[i], (double)want[i]);
        return false;
    }
    return true;
}

bool check_same_bytes(check *c, const char *what, const void *got, const void *want, size_t n) {
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i]) continue;
        check_fail(c, "%s: byte %zu of %zu is %u, want %u", what, i, n, a[i], b[i]);
        return false;
    }
    return true;
}

bool check_near(check *c, const char *what, double got, double want, double bound, size_t index) {
    if (fabs(got - want) <= bound) return true;
    check_fail(c, "%s: [%zu] is %.9g, want %.9g, error %.3g, bound %.3g", what, index, got, want,
               fabs(got - want), bound);
    return false;
}

/* ---- Timing -------------------------------------------------------------------------------------- */

double check_time(void (*run)(void *arg), void *arg) {
    uint64_t start = bk_now_ns(), least = UINT64_MAX, now = start;
    for (int i = 0; i < 3 || (now - start < 30000000 && i < 100000); i++) {
        uint64_t t = bk_now_ns();
        run(arg);
        now = bk_now_ns();
        if (now - t < least) least = now - t;
    }
    return (double)least;
}
