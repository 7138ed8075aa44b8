/* The LSTM command: rows of a sequence one step after another, sequences side by side.
 *
 * A step takes the state before of every sequence that still has a row, out of the pages; multiplies
 * with the matrices of the gates; makes the new states. Sixteen units take the same rows of all four
 * matrices, so whoever has multiplied these goes on with the units at once, and threads meet only
 * between steps. Columns of a step are as independent as rows of a product: no bit depends on who else
 * is in the pass. */
#include <string.h>

#include "device/cpu.h"

enum {
    CHUNKS_PER_THREAD = 4,
    PRIVATE_COLS = 2, /* whose operand every thread makes for itself */
    GATES = 4
};

/* What a step works on. */
typedef struct lstm_step {
    size_t n;       /* columns */
    uint32_t *rows; /* [n] of the command */
    const float *x; /* [n][ld] the states before, for float weights */
    size_t ld;
    char *acts; /* [n] rows of activations, for others */
    float *z;   /* [n][GATES][width] what the matrices make of them */
} lstm_step;

static size_t width(const bk_cmd *c) { return bk_round_up(c->lstm.n, BK_GROUP_ROWS); }

/* Rows are in order of sequence. */
static size_t n_seqs(const bk_cmd *c) { return c->rows ? c->lstm.row[c->rows - 1].seq + 1 : 0; }

static bool reads(const bk_cmd *c, bool quantised) {
    for (int g = 0; g < GATES; g++)
        if ((c->lstm.w[g]->packed.type->bits > 0) == quantised) return true;
    return false;
}

static size_t operand_bytes(const bk_cmd *c, size_t cols) {
    size_t bytes = 0;
    if (reads(c, false)) bytes += cols * width(c) * sizeof(float);
    if (reads(c, true)) bytes += cols * bk_act_row_bytes(c->lstm.n);
    return bytes;
}

static size_t list_bytes(size_t seqs) { return bk_round_up(seqs * sizeof(uint32_t), BK_LINE); }

/* Shared: the results of the matrices, then the operand of many columns. Private: a state of zeros, the
 * list of columns, the operand of few. */
bk_cpu_need bk_cpu_lstm_need(const bk_cmd *c) {
    size_t seqs = n_seqs(c), row = width(c) * sizeof(float);
    return (bk_cpu_need){seqs * GATES * row + operand_bytes(c, seqs),
                         row + list_bytes(seqs) + operand_bytes(c, PRIVATE_COLS)};
}

/* h at a position of a row's sequence, c behind it. */
static float *state_at(const bk_cmd *c, const bk_row *row, size_t pos) {
    void *page = c->lstm.seqs[row->seq].pages[0][pos / BK_ATTN_CHUNK];
    size_t state = bk_lstm_state(c->lstm.n);
    return (float *)page + ((size_t)c->lstm.layer * BK_ATTN_CHUNK + pos % BK_ATTN_CHUNK) * state;
}

/* Zeros before the first. */
static const float *state_before(const bk_cmd *c, const bk_row *row, const float *zeros) {
    return row->pos ? state_at(c, row, row->pos - 1) : zeros;
}

/* The rows that step s has. */
static size_t list_columns(const bk_cmd *c, size_t s, uint32_t *rows) {
    size_t n = 0;
    for (size_t r = 0; r < c->rows; r += c->lstm.row[r].seq_rows)
        if (s < c->lstm.row[r].seq_rows) rows[n++] = (uint32_t)(r + s);
    return n;
}

static size_t count_steps(const bk_cmd *c) {
    size_t steps = 0;
    for (size_t r = 0; r < c->rows; r += c->lstm.row[r].seq_rows)
        steps = bk_max_size(steps, c->lstm.row[r].seq_rows);
    return steps;
}

static void make_column(const bk_cpu_device *d, const bk_cmd *c, const lstm_step *s, size_t col,
                        const float *zeros) {
    const float *h = state_before(c, &c->lstm.row[s->rows[col]], zeros);
    /* The view is of scratch where it is not the state itself. */
    float *x = (float *)(uintptr_t)s->x + col * s->ld;
    if (s->x && x != h) memcpy(x, h, c->lstm.n * sizeof *x);
    if (s->acts) d->kernels->quantize(h, c->lstm.n, s->acts + col * bk_act_row_bytes(c->lstm.n));
}

/* Lays the operand over memory and fills it. */
static void make_operand(bk_cpu_device *d, const bk_cmd *c, lstm_step *s, char *own, char *shared,
                         const float *zeros, int thread) {
    char *memory = s->n <= PRIVATE_COLS ? own : shared;
    s->ld = width(c);
    s->x = NULL;
    s->acts = NULL;
    if (reads(c, false)) {
        bool alone = s->n == 1;
        s->x = alone ? state_before(c, &c->lstm.row[s->rows[0]], zeros) : (float *)(void *)memory;
        memory += alone ? 0 : s->n * s->ld * sizeof(float);
    }
    if (reads(c, true)) s->acts = memory;
    if (s->n <= PRIVATE_COLS) {
        for (size_t i = 0; i < s->n; i++) make_column(d, c, s, i, zeros);
        return;
    }
    for (size_t i; bk_pool_share(d->pool, thread, s->n, &i);) make_column(d, c, s, i, zeros);
    bk_cpu_meet(d, thread);
}

/* The rows [16 * first, 16 * (first + n)) of all gates, for all columns. */
static void multiply(bk_cpu_device *d, const bk_cmd *c, const lstm_step *s, size_t first,
                     size_t n) {
    size_t wide = width(c), ldo = GATES * wide;
    for (size_t g = 0; g < GATES; g++) {
        const bk_packed *w = &c->lstm.w[g]->packed;
        size_t pitch = w->type->bits ? bk_act_row_bytes(c->lstm.n) : s->ld;
        for (size_t col = 0, cols; col < s->n; col += cols) {
            cols = bk_min_size(s->n - col, BK_DIRECT_COLS);
            const void *x = w->type->bits ? (const void *)(s->acts + col * pitch)
                                          : (const void *)(s->x + col * pitch);
            d->kernels->direct(w, first, n, x, pitch, cols, s->z + col * ldo + g * wide, ldo,
                               false);
        }
    }
}

static void make_states(bk_cpu_device *d, const bk_cmd *c, const lstm_step *s, size_t first,
                        size_t n, const float *zeros) {
    size_t hidden = c->lstm.n, wide = width(c), at = first * BK_GROUP_ROWS;
    n = bk_min_size(n * BK_GROUP_ROWS, hidden - at);
    for (size_t col = 0; col < s->n; col++) {
        size_t r = s->rows[col];
        const bk_row *row = &c->lstm.row[r];
        float *h = state_at(c, row, row->pos) + at;
        bk_lstm_units u = {.n = n,
                           .x = c->lstm.gates + r * GATES * hidden + at,
                           .bias = c->lstm.bias + at,
                           .z = s->z + col * GATES * wide + at,
                           .ldx = hidden,
                           .ldz = wide,
                           .h = h,
                           .c = h + wide,
                           .c_before = zeros};
        if (row->pos) u.c_before = state_before(c, row, zeros) + wide + at;
        d->kernels->lstm_units(&u);
        memcpy(c->lstm.out + r * hidden + at, h, n * sizeof *h);
    }
}

void bk_cpu_lstm(bk_cpu_device *d, const bk_cmd *c, int thread) {
    size_t seqs = n_seqs(c), steps = count_steps(c), groups = width(c) / BK_GROUP_ROWS;
    size_t row = width(c) * sizeof(float);
    size_t size = bk_max_size(1, groups / (size_t)(CHUNKS_PER_THREAD * d->base.threads));
    char *own = d->private[thread], *shared = d->shared;
    float *zeros = (float *)(void *)own;
    memset(zeros, 0, row);
    lstm_step s = {.rows = (uint32_t *)(void *)(own + row), .z = (float *)(void *)shared};
    for (size_t i = 0; i < steps; i++) {
        if (i) bk_cpu_meet(d, thread);
        s.n = list_columns(c, i, s.rows);
        make_operand(d, c, &s, own + row + list_bytes(seqs), shared + seqs * GATES * row, zeros,
                     thread);
        for (size_t k; bk_pool_share(d->pool, thread, bk_div_up(groups, size), &k);) {
            size_t first = k * size, n = bk_min_size(size, groups - first);
            multiply(d, c, &s, first, n);
            make_states(d, c, &s, first, n, zeros);
        }
    }
}
