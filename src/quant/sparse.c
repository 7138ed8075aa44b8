#include "quant/sparse.h"

#include <string.h>

#include "base/mem.h"
#include "quant/formats.h"

enum { SCALES = 2 * BK_STRIP_ROWS, MOST = 1 << 24 };

/* A block of a strip, in the canonical form. */
typedef struct strip_block {
    uint16_t d[BK_STRIP_ROWS];
    uint8_t q[BK_STRIP_ROWS][32];
} strip_block;

bool bk_sparse_has(bk_sparse_kind kind, const bk_quant *type) {
    if (kind == BK_SPARSE_BITS) return type->type == BK_TYPE_Q4_0;
    return kind == BK_SPARSE_TILES && (type->type == BK_TYPE_Q4_0 || type->type == BK_TYPE_Q8_0);
}

static size_t index_size(const bk_sparse *s) {
    return s->kind == BK_SPARSE_TILES ? 1 : BK_TILE_PLACES;
}

static size_t n_blocks(const bk_sparse *s) { return bk_sparse_strips(s) * (s->k / 32); }

bk_status bk_sparse_shape(bk_sparse *s, bk_error *err) {
    if (s->n_rows < 1 || s->n_rows > MOST || s->k < 32 || s->k > MOST || s->k % 32)
        return bk_fail(err, BK_ERR_INVALID,
                       "a sparse matrix of %zu x %zu found; wanted at most %d rows, and columns in "
                       "blocks of 32",
                       s->n_rows, s->k, MOST);
    s->index_bytes = n_blocks(s) * index_size(s);
    return BK_OK;
}

static size_t count(uint64_t mask) { return (size_t)__builtin_popcountll(mask); }

static uint64_t mask_at(const uint8_t *index, size_t tile) {
    return (uint64_t)bk_load_le32(index + 8 * tile) | (uint64_t)bk_load_le32(index + 8 * tile + 4)
                                                          << 32;
}

bk_sparse_need bk_sparse_block_need(const bk_sparse *s, const uint8_t *index) {
    if (s->kind == BK_SPARSE_TILES) {
        size_t n = count(*index), lines = s->type->bits == 4 ? bk_div_up(n, 2) : n;
        return (bk_sparse_need){n ? SCALES : 0, lines * BK_TILE_PLACES};
    }
    size_t n[2] = {0, 0};
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) n[j / 4] += count(mask_at(index, j));
    return (bk_sparse_need){SCALES, bk_max_size(n[0], n[1])};
}

void bk_sparse_measure(bk_sparse *s) {
    s->scales_bytes = s->values_bytes = 0;
    for (size_t i = 0; i < s->index_bytes; i += index_size(s)) {
        bk_sparse_need need = bk_sparse_block_need(s, s->index + i);
        s->scales_bytes += need.scales;
        s->values_bytes += need.values;
    }
    s->scales_bytes = bk_max_size(s->scales_bytes, SCALES);
    s->values_bytes = bk_max_size(s->values_bytes, s->kind == BK_SPARSE_TILES ? BK_TILE_PLACES : 1);
}

double bk_sparse_density(const bk_sparse *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->index_bytes; i++) n += count(s->index[i]);
    return (double)n / (double)(n_blocks(s) * BK_BLOCK_TILES *
                                (s->kind == BK_SPARSE_TILES ? 1 : BK_TILE_PLACES));
}

/* ---- From and to dense rows ---------------------------------------------------------------------- */

static void read_block(const bk_sparse *s, const uint8_t *rows, size_t strip, size_t b,
                       strip_block *out) {
    size_t pitch = s->k / 32 * s->type->block_bytes, first = strip * BK_STRIP_ROWS;
    bk_canon c;
    memset(out->d, 0, sizeof out->d);
    memset(out->q, s->type->zero, sizeof out->q);
    for (size_t r = 0; r < BK_STRIP_ROWS && first + r < s->n_rows; r++) {
        const uint8_t *row = rows + (first + r) * pitch;
        out->d[r] = bk_load_le16(row + b * s->type->block_bytes);
        s->type->unpack(row, b, &c);
        memcpy(out->q[r], c.q, 32);
    }
}

static void write_block(const bk_sparse *s, const strip_block *block, size_t strip, size_t b,
                        uint8_t *rows) {
    size_t pitch = s->k / 32 * s->type->block_bytes, first = strip * BK_STRIP_ROWS;
    for (size_t r = 0; r < BK_STRIP_ROWS && first + r < s->n_rows; r++) {
        uint8_t *to = rows + (first + r) * pitch + b * s->type->block_bytes;
        const uint8_t *q = block->q[r];
        bk_store_le16(to, block->d[r]);
        for (size_t i = 0; i < 16 && s->type->bits == 4; i++)
            to[2 + i] = (uint8_t)(q[i] | q[i + 16] << 4);
        for (size_t i = 0; i < 32 && s->type->bits == 8; i++) to[2 + i] = bk_canon_byte(q[i]);
    }
}

/* Places of tile j that hold something. */
static uint64_t places(const bk_sparse *s, const strip_block *block, size_t j) {
    uint64_t mask = 0;
    for (size_t p = 0; p < BK_TILE_PLACES; p++) {
        bool number = (block->d[p / 4] & 0x7C00) != 0x7C00;
        bool zero = block->q[p / 4][4 * j + p % 4] == s->type->zero;
        mask |= (uint64_t)(!zero || !number) << p;
    }
    return mask;
}

static void make_index(const bk_sparse *s, const strip_block *block, uint8_t *index) {
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        uint64_t mask = places(s, block, j);
        if (s->kind == BK_SPARSE_TILES)
            *index = (uint8_t)(*index | (mask != 0) << j);
        else
            for (size_t i = 0; i < 8; i++) index[8 * j + i] = (uint8_t)(mask >> 8 * i);
    }
}

/* A nibble of a byte that was 0 before. */
static void set_nibble(uint8_t *byte, bool high, uint8_t q) {
    *byte = (uint8_t)(*byte | q << (high ? 4 : 0));
}

/* Values of a block into zeroed bytes, or from there. */
static void move_tiles(const bk_sparse *s, strip_block *block, unsigned index, uint8_t *values,
                       bool out) {
    size_t n = 0;
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        if (!(index >> j & 1)) continue;
        bool four = s->type->bits == 4, high = four && n % 2;
        uint8_t *line = values + (four ? n / 2 : n) * BK_TILE_PLACES;
        n++;
        for (size_t p = 0; p < BK_TILE_PLACES; p++) {
            uint8_t *q = &block->q[p / 4][4 * j + p % 4];
            if (out)
                *q = (uint8_t)(four ? line[p] >> (high ? 4 : 0) & 15 : line[p]);
            else if (four)
                set_nibble(&line[p], high, *q);
            else
                line[p] = *q;
        }
    }
}

static void move_bits(strip_block *block, const uint8_t *index, uint8_t *values, bool out) {
    size_t n[2] = {0, 0};
    for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        uint64_t mask = mask_at(index, j);
        for (; mask; mask &= mask - 1) {
            size_t p = (size_t)__builtin_ctzll(mask);
            uint8_t *q = &block->q[p / 4][4 * j + p % 4], *byte = &values[n[j / 4]++];
            if (out)
                *q = (uint8_t)(*byte >> (j / 4 ? 4 : 0) & 15);
            else
                set_nibble(byte, j / 4, *q);
        }
    }
}

static void move_values(const bk_sparse *s, strip_block *block, const uint8_t *index,
                        uint8_t *values, bool out) {
    if (s->kind == BK_SPARSE_TILES)
        move_tiles(s, block, *index, values, out);
    else
        move_bits(block, index, values, out);
}

static void encode_index(const bk_sparse *s, const uint8_t *rows, uint8_t *index) {
    strip_block block;
    for (size_t i = 0; i < n_blocks(s); i++) {
        read_block(s, rows, i / (s->k / 32), i % (s->k / 32), &block);
        make_index(s, &block, index + i * index_size(s));
    }
}

static void encode_values(const bk_sparse *s, const uint8_t *rows, uint8_t *scales,
                          uint8_t *values) {
    strip_block block;
    for (size_t i = 0; i < n_blocks(s); i++) {
        const uint8_t *index = s->index + i * index_size(s);
        bk_sparse_need need = bk_sparse_block_need(s, index);
        read_block(s, rows, i / (s->k / 32), i % (s->k / 32), &block);
        for (size_t r = 0; r < need.scales / 2; r++) bk_store_le16(scales + 2 * r, block.d[r]);
        move_values(s, &block, index, values, false);
        scales += need.scales;
        values += need.values;
    }
}

bk_status bk_sparse_encode(bk_sparse_kind kind, const bk_quant *type, const uint8_t *rows,
                           size_t n_rows, size_t k, bk_sparse *out, bk_error *err) {
    bk_sparse s = {.kind = kind, .type = type, .n_rows = n_rows, .k = k};
    if (!bk_sparse_has(kind, type))
        return bk_fail(err, BK_ERR_INVALID, "no sparse matrices of that kind in %s", type->name);
    bk_status status = bk_sparse_shape(&s, err);
    if (status != BK_OK) return status;
    uint8_t *index = bk_alloc_zero(s.index_bytes, 1), *all = NULL;
    if (index) {
        encode_index(&s, rows, index);
        s.index = index;
        bk_sparse_measure(&s);
        all = bk_realloc(index, s.index_bytes + s.scales_bytes + s.values_bytes, 1);
    }
    if (!all) {
        bk_free(index);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a sparse matrix");
    }
    memset(all + s.index_bytes, 0, s.scales_bytes + s.values_bytes);
    s.index = all;
    s.scales = all + s.index_bytes;
    s.values = s.scales + s.scales_bytes;
    encode_values(&s, rows, all + s.index_bytes, all + s.index_bytes + s.scales_bytes);
    *out = s;
    return BK_OK;
}

bk_status bk_sparse_decode(const bk_sparse *s, uint8_t *rows, bk_error *err) {
    size_t scale = 0, value = 0;
    strip_block block;
    for (size_t i = 0; i < n_blocks(s); i++) {
        uint8_t index[BK_TILE_PLACES]; /* a copy: the file may be written to meanwhile */
        memcpy(index, s->index + i * index_size(s), index_size(s));
        bk_sparse_need need = bk_sparse_block_need(s, index);
        if (need.scales > s->scales_bytes - scale || need.values > s->values_bytes - value)
            return bk_fail(err, BK_ERR_IO, "a sparse matrix changed while it was read");
        memset(block.q, s->type->zero, sizeof block.q);
        uint16_t zeros = s->type->bits == 4 ? 0x8000 : 0; /* what rounding zeros gives */
        for (size_t r = 0; r < BK_STRIP_ROWS; r++)
            block.d[r] = need.scales ? bk_load_le16(s->scales + scale + 2 * r) : zeros;
        /* Only read. */
        move_values(s, &block, index, (uint8_t *)(uintptr_t)(s->values + value), true);
        write_block(s, &block, i / (s->k / 32), i % (s->k / 32), rows);
        scale += need.scales;
        value += need.values;
    }
    return BK_OK;
}
