#include "device/matrix.h"

#include "base/mem.h"

static bk_status check_size(const char *what, size_t n, bk_error *err) {
    if (n >= 1 && n <= BK_MATRIX_MOST) return BK_OK;
    return bk_fail(err, BK_ERR_INVALID, "%s: %zu, it must be from 1 to %zu", what, n,
                   BK_MATRIX_MOST);
}

static bk_status check(const bk_quant *type, size_t n_rows, size_t k, int threads, bk_error *err) {
    bk_status st = check_size("rows", n_rows, err);
    if (!st) st = check_size("k", k, err);
    if (st) return st;
    if (threads < 1 || threads > 256)
        return bk_fail(err, BK_ERR_INVALID, "threads: %d, it must be from 1 to 256", threads);
    if (!type->quantize)
        return bk_fail(err, BK_ERR_UNSUPPORTED, "floats cannot be rounded to %s here", type->name);
    if (k % type->block_len != 0)
        return bk_fail(err, BK_ERR_INVALID, "k of %zu, %s wants a multiple of %zu", k, type->name,
                       type->block_len);
    return BK_OK;
}

/* All rows as in a file, then in the device's order. */
static bk_status load(bk_matrix *m, const bk_quant *type, const float *rows, bk_error *err) {
    size_t row_bytes = m->k / type->block_len * type->block_bytes;
    uint8_t *blocks = bk_alloc(m->n_rows, row_bytes);
    if (!blocks)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu x %zu weights", m->n_rows, m->k);
    for (size_t r = 0; r < m->n_rows; r++)
        type->quantize(rows + r * m->k, blocks + r * row_bytes, m->k);
    m->device->ops->weight_load(m->device, m->weight, blocks, 0, m->n_rows);
    bk_free(blocks);
    return BK_OK;
}

bk_status bk_matrix_create(const bk_quant *type, const float *rows, size_t n_rows, size_t k,
                           bk_cpu_level level, int threads, bk_matrix **out, bk_error *err) {
    *out = NULL;
    bk_status st = check(type, n_rows, k, threads, err);
    if (st) return st;
    bk_matrix *m = bk_alloc_zero(1, sizeof *m);
    if (!m) return bk_fail(err, BK_ERR_NOMEM, "no memory for a matrix");
    m->n_rows = n_rows;
    m->k = k;
    st = bk_device_cpu_create(level, threads, &m->device, err);
    if (!st) st = m->device->ops->weight_create(m->device, type, n_rows, k, &m->weight, err);
    if (!st) st = load(m, type, rows, err);
    if (st) {
        bk_matrix_destroy(&m);
        return st;
    }
    *out = m;
    return BK_OK;
}

void bk_matrix_destroy(bk_matrix **m) {
    if (!*m) return;
    if ((*m)->weight) (*m)->device->ops->weight_destroy((*m)->device, (*m)->weight);
    bk_device_destroy(&(*m)->device);
    bk_free(*m);
    *m = NULL;
}

bk_status bk_matrix_multiply(bk_matrix *m, const float *x, size_t n, float *out, bk_error *err) {
    bk_status st = check_size("vectors", n, err);
    if (st) return st;
    bk_cmd c = {.op = BK_OP_PRODUCT, .rows = n};
    c.product.input = (bk_input){.kind = BK_INPUT_ROWS, .k = m->k, .x = x, .ld = m->k};
    c.product.n = 1;
    c.product.w[0] = m->weight;
    c.product.out[0] = out;
    c.product.ldo[0] = m->n_rows;
    return m->device->ops->run(m->device, &c, 1, err);
}

bk_status bk_matrix_row(bk_matrix *m, size_t r, float *row, bk_error *err) {
    if (r >= m->n_rows)
        return bk_fail(err, BK_ERR_INVALID, "row %zu of %zu, counted from 0", r, m->n_rows);
    int32_t token = (int32_t)r;
    bk_cmd c = {.op = BK_OP_EMBED, .rows = 1};
    c.embed.tokens = &token;
    c.embed.table = m->weight;
    c.embed.scale = 1;
    c.embed.x = row;
    c.embed.ldx = m->k;
    return m->device->ops->run(m->device, &c, 1, err);
}
