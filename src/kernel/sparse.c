#include "kernel/sparse.h"

#include <string.h>

#include "kernel/parts.h"

static bk_sparse_need need_of(const bk_packed *p, const uint8_t *index) {
    bk_sparse s = {.kind = p->plan == BK_PLAN_BITS_4 ? BK_SPARSE_BITS : BK_SPARSE_TILES,
                   .type = p->type};
    return bk_sparse_block_need(&s, index);
}

/* What all blocks of strip g take. */
static bk_sparse_need strip_need(const bk_packed *p, const bk_sparse *s, size_t g) {
    size_t n = p->k / 32 * bk_strip_index_bytes(p);
    bk_sparse_need sum = {0, 0};
    for (size_t i = 0; i < n; i += bk_strip_index_bytes(p)) {
        bk_sparse_need need = need_of(p, s->index + g * n + i);
        sum.scales += need.scales;
        sum.values += need.values;
    }
    return sum;
}

static size_t strip_bytes(const bk_packed *p, bk_sparse_need need) {
    return bk_strip_d_at(p) + bk_round_up(need.scales, BK_LINE) + bk_round_up(need.values, BK_LINE);
}

bool bk_packed_init_sparse(bk_packed *p, const bk_sparse *s, uint64_t *group_at) {
    bool bits = s->kind == BK_SPARSE_BITS;
    size_t at = 0;
    *p = (bk_packed){.type = s->type, .n_rows = s->n_rows, .k = s->k, .group_at = group_at};
    p->plan = bits ? BK_PLAN_BITS_4 : s->type->bits == 4 ? BK_PLAN_TILES_4 : BK_PLAN_TILES_8;
    p->n_groups = bk_sparse_strips(s);
    for (size_t g = 0; g < p->n_groups; g++) {
        bk_sparse_need need = strip_need(p, s, g);
        group_at[g] = at;
        if (need.values > UINT32_MAX) return false;
        if (!bk_add_size(at, strip_bytes(p, need), &at)) return false;
    }
    if (!bk_add_size(at, BK_SPARSE_AFTER, &at)) return false;
    group_at[p->n_groups] = at;
    return true;
}

/* The least number of lines that at most one of 16 blocks has more than. */
static uint32_t usual_lines(const bk_packed *p, const uint8_t *index, size_t nb) {
    size_t n[BK_BLOCK_TILES + 1] = {0}, more = 0, there = 0;
    for (size_t b = 0; b < nb; b++) {
        n[bk_tiles_lines(p, index[b])]++;
        there += index[b] != 0;
    }
    uint32_t lines = BK_BLOCK_TILES;
    while (lines > 1 && 16 * (more + n[lines]) <= there) more += n[lines--];
    return lines;
}

/* One group; *scale and *value: bytes of the file's arrays that are used up. */
static bool pack_strip(const bk_packed *p, const bk_sparse *s, size_t g, size_t *scale,
                       size_t *value) {
    size_t step = bk_strip_index_bytes(p), nb = p->k / 32, chunks = bk_sparse_chunks(p->k);
    uint8_t *group = p->data + p->group_at[g];
    size_t room = (size_t)(p->group_at[g + 1] - p->group_at[g]);
    bk_sparse_at *at = (void *)group, sum = {0, 0};
    uint8_t *index = group + bk_strip_index_at(p);
    uint16_t *before = (void *)(group + bk_strip_before_at(p));
    memset(group, 0, room);
    memcpy(index, s->index + g * nb * step, nb * step);
    for (size_t b = 0; b < nb; b++) {
        bk_sparse_need need = need_of(p, index + b * step);
        if (b % BK_CHUNK_BLOCKS == 0) at[b / BK_CHUNK_BLOCKS] = sum;
        if (p->plan == BK_PLAN_BITS_4)
            before[b] = (uint16_t)(sum.values - at[b / BK_CHUNK_BLOCKS].values);
        sum.scales += (uint32_t)(need.scales / 32);
        sum.values += (uint32_t)need.values;
    }
    at[chunks] = sum;
    if (p->plan != BK_PLAN_BITS_4) at[chunks + 1].values = usual_lines(p, index, nb);
    size_t scales = sum.scales * (size_t)32;
    if (strip_bytes(p, (bk_sparse_need){scales, sum.values}) > room ||
        scales > s->scales_bytes - *scale || sum.values > s->values_bytes - *value)
        return false;
    bk_strip to = bk_strip_view(p, g);
    memcpy((uint8_t *)(uintptr_t)to.d, s->scales + *scale, scales);
    memcpy((uint8_t *)(uintptr_t)to.values, s->values + *value, sum.values);
    *scale += scales;
    *value += sum.values;
    return true;
}

bool bk_pack_sparse(const bk_packed *p, const bk_sparse *s) {
    size_t scale = 0, value = 0;
    for (size_t g = 0; g < p->n_groups; g++)
        if (!pack_strip(p, s, g, &scale, &value)) return false;
    return true;
}

/* ---- Reading back --------------------------------------------------------------------------------- */

static uint64_t mask_at(const uint8_t *index, size_t tile) {
    uint64_t mask;
    memcpy(&mask, index + 8 * tile, 8);
    return mask;
}

static size_t count(uint64_t mask) { return (size_t)__builtin_popcountll(mask); }

/* Quants of row r (0..15) of a block that is there. */
static void read_tiles(const bk_packed *p, unsigned index, const uint8_t *values, size_t r,
                       uint8_t q[32]) {
    bool four = p->plan == BK_PLAN_TILES_4;
    size_t n = 0;
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        if (!(index >> j & 1)) continue;
        const uint8_t *line = values + (four ? n / 2 : n) * BK_LINE + 4 * r;
        for (size_t i = 0; i < 4; i++)
            q[4 * j + i] = four ? line[i] >> (n % 2 ? 4 : 0) & 15 : line[i];
        n++;
    }
}

static void read_bits(const uint8_t *index, const uint8_t *values, size_t r, uint8_t q[32]) {
    size_t n[2] = {0, 0};
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        uint64_t mask = mask_at(index, j), below = mask & (((uint64_t)1 << 4 * r) - 1);
        size_t at = n[j / 4] + count(below);
        for (size_t i = 0; i < 4; i++)
            if (mask >> (4 * r + i) & 1) q[4 * j + i] = values[at++] >> (j / 4 ? 4 : 0) & 15;
        n[j / 4] += count(mask);
    }
}

void bk_sparse_block(const bk_packed *p, size_t r, size_t b, bk_canon *out) {
    bk_strip s = bk_strip_view(p, r / BK_GROUP_ROWS);
    size_t step = bk_strip_index_bytes(p), chunk = b / BK_CHUNK_BLOCKS;
    bk_sparse_at at = s.at[chunk];
    for (size_t i = chunk * BK_CHUNK_BLOCKS; i < b; i++) {
        bk_sparse_need need = need_of(p, s.index + i * step);
        at.scales += (uint32_t)(need.scales / 32);
        at.values += (uint32_t)need.values;
    }
    const uint8_t *index = s.index + b * step, *values = s.values + at.values;
    out->d[0] = out->d[1] = bk_sparse_no_scale(p);
    out->m[0] = out->m[1] = 0;
    memset(out->q, p->type->zero, 32);
    if (need_of(p, index).scales) {
        uint16_t d;
        memcpy(&d, s.d + (at.scales * (size_t)BK_GROUP_ROWS + r % BK_GROUP_ROWS) * 2, 2);
        out->d[0] = out->d[1] = bk_f16_to_f32(d);
    }
    if (p->plan == BK_PLAN_BITS_4)
        read_bits(index, values, r % BK_GROUP_ROWS, out->q);
    else
        read_tiles(p, *index, values, r % BK_GROUP_ROWS, out->q);
}

/* ---- Dense panels --------------------------------------------------------------------------------- */

/* The lines of one block: [8][16 rows][4]. */
static void expand_tiles(const bk_packed *p, unsigned index, const uint8_t *values, int bias,
                         uint8_t *q) {
    bool four = p->plan == BK_PLAN_TILES_4;
    size_t n = 0;
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        if (!(index >> j & 1)) continue;
        const uint8_t *line = values + (four ? n / 2 : n) * BK_LINE;
        int shift = four && n % 2 ? 4 : 0, mask = four ? 15 : 255;
        for (size_t i = 0; i < BK_LINE; i++)
            q[j * BK_LINE + i] = (uint8_t)((line[i] >> shift & mask) + bias);
        n++;
    }
}

static void expand_bits(const uint8_t *index, const uint8_t *values, int bias, uint8_t *q) {
    size_t n[2] = {0, 0};
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        for (uint64_t mask = mask_at(index, j); mask; mask &= mask - 1) {
            int value = values[n[j / 4]++] >> (j / 4 ? 4 : 0) & 15;
            q[j * BK_LINE + (size_t)__builtin_ctzll(mask)] = (uint8_t)(value + bias);
        }
    }
}

void bk_sparse_expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel, int bias) {
    size_t nb = w->k / 32, step = bk_strip_index_bytes(w);
    memset(panel->known, 0, bk_div_up(w->k, 64) * sizeof *panel->known);
    for (size_t g = 0; g < n; g++) {
        bk_strip s = bk_strip_view(w, first + g);
        float *d = panel->d + g * nb * BK_GROUP_ROWS;
        uint8_t *q = panel->q + g * w->k * BK_GROUP_ROWS;
        memset(q, w->type->zero + bias, w->k * BK_GROUP_ROWS);
        for (size_t b = 0; b < nb; b++, q += 8 * BK_LINE, d += BK_GROUP_ROWS) {
            const uint8_t *index = s.index + b * step;
            bk_sparse_need need = need_of(w, index);
            for (size_t r = 0; r < BK_GROUP_ROWS; r++) {
                uint16_t half = 0;
                if (need.scales) memcpy(&half, s.d + 2 * r, 2);
                d[r] = need.scales ? bk_f16_to_f32(half) : bk_sparse_no_scale(w);
            }
            if (w->plan == BK_PLAN_BITS_4)
                expand_bits(index, s.values, bias, q);
            else
                expand_tiles(w, *index, s.values, bias, q);
            s.d += need.scales;
            s.values += need.values;
        }
    }
}
