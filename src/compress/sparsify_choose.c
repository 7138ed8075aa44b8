#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "compress/sparsify_internal.h"
#include "device/nn_cpu.h"

enum { BLOCK = 128, STRIP = 16 };

size_t bk_block_columns(const bk_sparsify_rule *rule) {
    size_t step = 1;
    if (rule->pattern == BK_PATTERN_NM) step = (size_t)rule->m;
    if (rule->pattern == BK_PATTERN_TILES) step = (size_t)rule->tile_cols;
    return bk_max_size(BLOCK / step, 1) * step;
}

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* The value that `count` of x[n] are below or equal to in order (0 < count <= n), and how many of those
 * equal to it belong to them. Floats that are not negative are ordered as their bits are, so four passes
 * of eight bits find it. */
static float threshold(const float *x, size_t n, size_t count, size_t *equal) {
    uint32_t prefix = 0, known = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        size_t of[256] = {0}, byte = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t u = bits_of(x[i]);
            of[u >> shift & 255] += (u & known) == prefix;
        }
        while (count > of[byte]) count -= of[byte++];
        prefix |= (uint32_t)byte << shift;
        known |= (uint32_t)255 << shift;
    }
    float found;
    memcpy(&found, &prefix, sizeof found);
    *equal = count;
    return found;
}

static void choose_least(const float *x, size_t n, size_t count, uint8_t *gone) {
    size_t equal = 0;
    float limit = count ? threshold(x, n, count, &equal) : 0;
    for (size_t i = 0; i < n; i++) {
        gone[i] = count && (x[i] < limit || (x[i] == limit && equal > 0));
        equal -= count && x[i] == limit && equal > 0;
    }
}

void bk_choose_nm(const float *score, size_t n, size_t m, uint8_t *gone) {
    for (size_t i = 0; i < m; i++) {
        size_t below = 0;
        for (size_t j = 0; j < m; j++)
            below += score[j] < score[i] || (score[j] == score[i] && j < i);
        gone[i] = below < m - n;
    }
}

/* Of the first n of something, so that counts of neighbouring ranges add up. */
static size_t share(double ratio, size_t n) { return (size_t)floor(ratio * (double)n + 0.5); }

typedef struct job {
    const bk_choice *c;
    float *tiles; /* [strips][tiles of a strip] */
    uint8_t *gone_tiles;
    size_t strip, n_tiles, count;
} job;

static void choose_rows(const void *p, size_t strip, int thread) {
    (void)thread;
    const job *j = p;
    const bk_choice *c = j->c;
    size_t width = c->end - c->first, last = bk_min_size(c->rows, (strip + 1) * STRIP);
    size_t m = (size_t)c->rule->m;
    for (size_t r = strip * STRIP; r < last; r++) {
        const float *score = c->score + r * width;
        uint8_t *gone = c->gone + r * width;
        if (c->rule->pattern == BK_PATTERN_ROW)
            choose_least(score, width, j->count, gone);
        else
            for (size_t i = 0; i < width; i += m)
                bk_choose_nm(score + i, (size_t)c->rule->n, m, gone + i);
    }
}

static void choose_tiles(const void *p, size_t strip, int thread) {
    (void)thread;
    const job *j = p;
    const bk_choice *c = j->c;
    size_t width = c->end - c->first, cols = (size_t)c->rule->tile_cols;
    size_t first = strip * j->strip, last = bk_min_size(c->rows, first + j->strip);
    float *tiles = j->tiles + strip * j->n_tiles;
    uint8_t *gone = j->gone_tiles + strip * j->n_tiles;
    for (size_t t = 0; t < j->n_tiles; t++) {
        size_t from = t * cols, to = bk_min_size(width, from + cols);
        double sum = 0;
        for (size_t r = first; r < last; r++)
            for (size_t i = from; i < to; i++)
                sum += (double)c->score[r * width + i] * (double)c->score[r * width + i];
        tiles[t] = (float)sqrt(sum);
    }
    choose_least(tiles, j->n_tiles, j->count, gone);
    for (size_t r = first; r < last; r++)
        for (size_t i = 0; i < width; i++) c->gone[r * width + i] = gone[i / cols];
}

static bk_status choose_in_strips(bk_nn *nn, job *j, bk_error *err) {
    const bk_choice *c = j->c;
    size_t cols = (size_t)c->rule->tile_cols, strips, before = bk_div_up(c->first, cols);
    j->strip = (size_t)c->rule->tile_rows;
    strips = bk_div_up(c->rows, j->strip);
    j->n_tiles = bk_div_up(c->end - c->first, cols);
    j->count = share(c->rule->ratio, before + j->n_tiles) - share(c->rule->ratio, before);
    j->tiles = bk_alloc(bk_max_size(strips * j->n_tiles, 1), sizeof *j->tiles);
    j->gone_tiles = bk_alloc(bk_max_size(strips * j->n_tiles, 1), 1);
    bool enough = j->tiles && j->gone_tiles;
    if (enough)
        bk_nn_cpu_each((bk_nn_cpu *)nn, strips, c->rows * (c->end - c->first), choose_tiles, j);
    bk_free(j->tiles);
    bk_free(j->gone_tiles);
    return enough ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory to choose among tiles");
}

bk_status bk_choose(bk_nn *nn, const bk_choice *c, bk_error *err) {
    job j = {.c = c};
    size_t width = c->end - c->first;
    double ratio = c->rule->ratio;
    switch (c->rule->pattern) {
    case BK_PATTERN_TILES: return choose_in_strips(nn, &j, err);
    case BK_PATTERN_LAYER:
        choose_least(c->score, c->rows * width,
                     share(ratio, c->rows * c->end) - share(ratio, c->rows * c->first), c->gone);
        return BK_OK;
    default:
        j.count = share(ratio, c->end) - share(ratio, c->first);
        bk_nn_cpu_each((bk_nn_cpu *)nn, bk_div_up(c->rows, STRIP), 8 * c->rows * width, choose_rows,
                       &j);
        return BK_OK;
    }
}
