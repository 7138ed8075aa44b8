#include "train/tape.h"

#include "base/mem.h"

typedef enum op {
    OP_LEAF,
    OP_LINEAR,
    OP_EMBED,
    OP_RMS_NORM,
    OP_ROPE,
    OP_ATTENTION,
    OP_SILU_MUL,
    OP_ACT,
    OP_MUL,
    OP_ADD,
    OP_COLUMNS,
    OP_ROWS,
    OP_DROPOUT,
    OP_CROSS_ENTROPY
} op;

typedef struct node {
    op op;
    int in[3];
    size_t rows, cols;
    bk_vec y, dy; /* dy without memory: no gradient is wanted */
    bool has_dy;  /* something is in dy already: the next one is added */
    bk_vec saved; /* beside inputs and result: ids, targets, 1 / root mean square, sums of scores */
    size_t from;  /* first column or row; T of rope and attention */
    int heads, kv_heads, head_size;
    float number; /* eps, theta, p, scale */
    bk_act act;
    uint64_t seed, at;
} node;

typedef struct block {
    bk_mem *mem;
    size_t words;
} block;

enum { BLOCKS = 32, FIRST_WORDS = 1 << 16, ALIGN_WORDS = 16 };

struct bk_tape {
    bk_nn *d;
    node *nodes;
    size_t n, cap;
    /* Memory of values: blocks that double, taken from one after another. */
    block blocks[BLOCKS];
    size_t n_blocks, block, used;
    bk_error err; /* the first failure */
};

bk_tape *bk_tape_create(bk_nn *d) {
    bk_tape *t = bk_alloc_zero(1, sizeof *t);
    if (t) t->d = d;
    return t;
}

void bk_tape_destroy(bk_tape **tape) {
    bk_tape *t = *tape;
    *tape = NULL;
    if (!t) return;
    for (size_t i = 0; i < t->n_blocks; i++) t->d->ops->mem_destroy(t->d, t->blocks[i].mem);
    bk_free(t->nodes);
    bk_free(t);
}

void bk_tape_reset(bk_tape *t) {
    t->n = t->block = t->used = 0;
    t->err.code = BK_OK;
}

/* ---- Memory and nodes --------------------------------------------------------------------------- */

static int fail(bk_tape *t, bk_status code, const char *text) {
    if (!t->err.code) bk_fail(&t->err, code, "%s", text);
    return BK_TAPE_NONE;
}

static bk_vec take(bk_tape *t, size_t words) {
    const bk_vec none = {NULL, 0};
    words = bk_round_up(words, ALIGN_WORDS);
    while (t->block < t->n_blocks && t->blocks[t->block].words - t->used < words)
        t->block++, t->used = 0;
    if (t->block == t->n_blocks) {
        size_t least = t->n_blocks ? 2 * t->blocks[t->n_blocks - 1].words : FIRST_WORDS;
        block b = {.words = bk_max_size(words, least)};
        if (t->n_blocks < BLOCKS) b.mem = t->d->ops->mem_create(t->d, b.words);
        if (!b.mem) {
            fail(t, BK_ERR_NOMEM, "no memory for the values of a training step");
            return none;
        }
        t->blocks[t->n_blocks++] = b;
    }
    bk_vec v = {t->blocks[t->block].mem, t->used};
    t->used += words;
    return v;
}

static node *at(bk_tape *t, int v) { return &t->nodes[v]; }
static size_t size_of(const node *n) { return n->rows * n->cols; }
static bool wanted(bk_tape *t, int v) { return v >= 0 && at(t, v)->dy.mem; }

static int push(bk_tape *t, const node *n) {
    if (t->err.code) return BK_TAPE_NONE;
    if (t->n == t->cap) {
        size_t cap = bk_max_size(2 * t->cap, 64);
        node *nodes = bk_realloc(t->nodes, cap, sizeof *nodes);
        if (!nodes) return fail(t, BK_ERR_NOMEM, "no memory for a training step");
        t->nodes = nodes;
        t->cap = cap;
    }
    t->nodes[t->n] = *n;
    return (int)t->n++;
}

/* A node with room for its value, and for its gradient when an input wants one. */
static int push_value(bk_tape *t, node *n) {
    bool grad = false;
    for (size_t i = 0; i < BK_ARRAY_LEN(n->in); i++) grad |= wanted(t, n->in[i]);
    n->y = take(t, size_of(n));
    if (grad) n->dy = take(t, size_of(n));
    return push(t, n);
}

/* Whether all values are there; those that may be left out are not asked about. */
static bool there(const bk_tape *t, int a, int b) {
    return !t->err.code && a >= 0 && b >= 0 && (size_t)a < t->n && (size_t)b < t->n;
}

#define NODE(...) ((node){.in = {BK_TAPE_NONE, BK_TAPE_NONE, BK_TAPE_NONE}, __VA_ARGS__})

int bk_tape_input(bk_tape *t, bk_vec value, size_t rows, size_t cols) {
    node n = NODE(.op = OP_LEAF, .rows = rows, .cols = cols, .y = value);
    return push(t, &n);
}

int bk_tape_param(bk_tape *t, bk_vec value, bk_vec grad, size_t rows, size_t cols) {
    node n =
        NODE(.op = OP_LEAF, .rows = rows, .cols = cols, .y = value, .dy = grad, .has_dy = true);
    return push(t, &n);
}

bk_vec bk_tape_value(const bk_tape *t, int v) { return t->nodes[v].y; }
bk_vec bk_tape_grad(const bk_tape *t, int v) { return t->nodes[v].dy; }

/* ---- Gradients of inputs ------------------------------------------------------------------------- */

/* Where an operation writes the gradient of an input: in place, or beside when something is there. */
static bk_vec open_grad(bk_tape *t, int v) {
    node *n = at(t, v);
    return n->has_dy || !n->dy.mem ? take(t, size_of(n)) : n->dy;
}

static void close_grad(bk_tape *t, int v, bk_vec written) {
    node *n = at(t, v);
    if (n->has_dy && n->dy.mem && written.mem) t->d->ops->add(t->d, n->dy, written, size_of(n));
    n->has_dy = true;
}

/* For operations that add: the gradient begins at zero. */
static bk_vec zeroed_grad(bk_tape *t, int v) {
    node *n = at(t, v);
    if (!n->has_dy) t->d->ops->zero(t->d, n->dy, size_of(n));
    n->has_dy = true;
    return n->dy;
}

/* ---- Operations: forward, then the way back ------------------------------------------------------ */

int bk_tape_linear(bk_tape *t, int x, int w, int bias) {
    if (!there(t, x, w) || (bias >= 0 && !there(t, bias, bias))) return BK_TAPE_NONE;
    const node *a = at(t, x), *b = at(t, w);
    if (a->cols != b->cols || (bias >= 0 && at(t, bias)->cols != b->rows))
        return fail(t, BK_ERR_INVALID, "linear: the input's width is not the weights'");
    node n = NODE(.op = OP_LINEAR, .rows = a->rows, .cols = b->rows);
    n.in[0] = x, n.in[1] = w, n.in[2] = bias;
    int y = push_value(t, &n);
    if (y < 0) return y;
    a = at(t, x), b = at(t, w);
    bk_gemm g = {.m = n.rows,
                 .n = n.cols,
                 .k = a->cols,
                 .a = a->y,
                 .lda = a->cols,
                 .b = b->y,
                 .ldb = b->cols,
                 .tb = true,
                 .c = n.y,
                 .ldc = n.cols};
    if (bias >= 0) g.bias = at(t, bias)->y;
    t->d->ops->gemm(t->d, &g);
    return y;
}

static void linear_back(bk_tape *t, const node *n) {
    node *x = at(t, n->in[0]), *w = at(t, n->in[1]);
    if (x->dy.mem) { /* dx = dy W */
        bk_gemm g = {.m = n->rows,
                     .n = x->cols,
                     .k = n->cols,
                     .a = n->dy,
                     .lda = n->cols,
                     .b = w->y,
                     .ldb = w->cols,
                     .c = x->dy,
                     .ldc = x->cols,
                     .add = x->has_dy};
        t->d->ops->gemm(t->d, &g);
        x->has_dy = true;
    }
    if (w->dy.mem) { /* dW = dy^T x */
        bk_gemm g = {.m = n->cols,
                     .n = x->cols,
                     .k = n->rows,
                     .a = n->dy,
                     .lda = n->cols,
                     .ta = true,
                     .b = x->y,
                     .ldb = x->cols,
                     .c = w->dy,
                     .ldc = w->cols,
                     .add = w->has_dy};
        t->d->ops->gemm(t->d, &g);
        w->has_dy = true;
    }
    if (wanted(t, n->in[2]))
        t->d->ops->col_sum(t->d, n->dy, n->rows, n->cols, n->cols, zeroed_grad(t, n->in[2]));
}

int bk_tape_embed(bk_tape *t, bk_vec ids, size_t R, int table) {
    if (!there(t, table, table)) return BK_TAPE_NONE;
    node n = NODE(.op = OP_EMBED, .rows = R, .cols = at(t, table)->cols, .saved = ids);
    n.in[0] = table;
    int y = push_value(t, &n);
    if (y >= 0) t->d->ops->embed(t->d, ids, R, at(t, table)->y, n.cols, n.y);
    return y;
}

static void embed_back(bk_tape *t, const node *n) {
    t->d->ops->embed_bwd(t->d, n->saved, n->rows, n->dy, n->cols, zeroed_grad(t, n->in[0]));
}

int bk_tape_rms_norm(bk_tape *t, int x, int w, float eps) {
    if (!there(t, x, w)) return BK_TAPE_NONE;
    if (size_of(at(t, w)) != at(t, x)->cols)
        return fail(t, BK_ERR_INVALID, "rms_norm: the weights' width is not the input's");
    node n = NODE(.op = OP_RMS_NORM, .rows = at(t, x)->rows, .cols = at(t, x)->cols, .number = eps);
    n.in[0] = x, n.in[1] = w;
    n.saved = take(t, n.rows);
    int y = push_value(t, &n);
    if (y >= 0)
        t->d->ops->rms_norm(t->d, at(t, x)->y, n.rows, n.cols, at(t, w)->y, eps, n.y, n.saved);
    return y;
}

static void rms_norm_back(bk_tape *t, const node *n) {
    node *x = at(t, n->in[0]), *w = at(t, n->in[1]);
    bk_vec dx = x->dy.mem ? x->dy : take(t, size_of(x));
    bk_vec dw = w->dy.mem ? zeroed_grad(t, n->in[1]) : take(t, size_of(w));
    if (dx.mem && dw.mem)
        t->d->ops->rms_norm_bwd(t->d, x->y, n->saved, n->rows, n->cols, w->y, n->dy, dx,
                                x->has_dy && x->dy.mem, dw);
    x->has_dy = true;
}

int bk_tape_rope(bk_tape *t, int x, size_t T, int n_heads, int head_size, float theta) {
    if (!there(t, x, x)) return BK_TAPE_NONE;
    if (at(t, x)->cols != (size_t)n_heads * (size_t)head_size || T == 0)
        return fail(t, BK_ERR_INVALID, "rope: the input's width is not that of its heads");
    node n = NODE(.op = OP_ROPE, .rows = at(t, x)->rows, .cols = at(t, x)->cols, .from = T,
                  .heads = n_heads, .head_size = head_size, .number = theta);
    n.in[0] = x;
    int y = push_value(t, &n);
    if (y < 0) return y;
    t->d->ops->copy(t->d, n.y, at(t, x)->y, size_of(&n));
    t->d->ops->rope(t->d, n.y, n.rows, n.cols, T, n_heads, head_size, theta, 1);
    return y;
}

static void rope_back(bk_tape *t, const node *n) {
    bk_vec dx = open_grad(t, n->in[0]);
    if (!dx.mem) return;
    t->d->ops->copy(t->d, dx, n->dy, size_of(n));
    t->d->ops->rope(t->d, dx, n->rows, n->cols, n->from, n->heads, n->head_size, n->number, -1);
    close_grad(t, n->in[0], dx);
}

static bk_nn_attention attention_of(bk_tape *t, const node *n) {
    const node *q = at(t, n->in[0]), *k = at(t, n->in[1]), *v = at(t, n->in[2]);
    return (bk_nn_attention){.B = n->rows / n->from,
                             .T = n->from,
                             .n_heads = n->heads,
                             .n_kv_heads = n->kv_heads,
                             .head_size = n->head_size,
                             .q = q->y,
                             .k = k->y,
                             .v = v->y,
                             .ldq = q->cols,
                             .ldkv = k->cols,
                             .y = n->y,
                             .lse = n->saved};
}

int bk_tape_attention(bk_tape *t, int q, int k, int v, size_t T, int n_heads, int n_kv_heads) {
    if (!there(t, q, k) || !there(t, v, v)) return BK_TAPE_NONE;
    size_t rows = at(t, q)->rows, cols = at(t, q)->cols, heads = (size_t)n_heads;
    if (T == 0 || rows % T != 0 || cols % heads != 0 || n_heads % n_kv_heads != 0 ||
        at(t, k)->cols != cols / heads * (size_t)n_kv_heads || at(t, k)->cols != at(t, v)->cols ||
        at(t, k)->rows != rows || at(t, v)->rows != rows)
        return fail(t, BK_ERR_INVALID, "attention: shapes of q, k and v do not fit");
    node n = NODE(.op = OP_ATTENTION, .rows = rows, .cols = cols, .from = T, .heads = n_heads,
                  .kv_heads = n_kv_heads, .head_size = (int)(cols / heads));
    n.in[0] = q, n.in[1] = k, n.in[2] = v;
    n.saved = take(t, rows * heads);
    int y = push_value(t, &n);
    if (y < 0) return y;
    bk_nn_attention a = attention_of(t, &n);
    t->d->ops->attention(t->d, &a);
    return y;
}

static void attention_back(bk_tape *t, const node *n) {
    bk_nn_attention a = attention_of(t, n);
    a.dy = n->dy;
    a.dq = open_grad(t, n->in[0]);
    a.dk = open_grad(t, n->in[1]);
    a.dv = open_grad(t, n->in[2]);
    if (t->err.code) return;
    t->d->ops->attention_bwd(t->d, &a);
    close_grad(t, n->in[0], a.dq);
    close_grad(t, n->in[1], a.dk);
    close_grad(t, n->in[2], a.dv);
}

/* A node of the shape of a, which b has too. */
static int push_pair(bk_tape *t, op kind, int a, int b, node *n) {
    if (!there(t, a, b)) return BK_TAPE_NONE;
    const node *x = at(t, a), *z = at(t, b);
    if (x->rows != z->rows || x->cols != z->cols)
        return fail(t, BK_ERR_INVALID, "values of different shapes meet element by element");
    *n = NODE(.op = kind, .rows = x->rows, .cols = x->cols);
    n->in[0] = a, n->in[1] = b;
    return push_value(t, n);
}

int bk_tape_silu_mul(bk_tape *t, int gate, int up) {
    node n;
    int y = push_pair(t, OP_SILU_MUL, gate, up, &n);
    if (y >= 0) t->d->ops->silu_mul(t->d, at(t, gate)->y, at(t, up)->y, size_of(&n), n.y);
    return y;
}

static void silu_mul_back(bk_tape *t, const node *n) {
    bk_vec dgate = open_grad(t, n->in[0]), dup = open_grad(t, n->in[1]);
    if (t->err.code) return;
    t->d->ops->silu_mul_bwd(t->d, at(t, n->in[0])->y, at(t, n->in[1])->y, n->dy, size_of(n), dgate,
                            dup);
    close_grad(t, n->in[0], dgate);
    close_grad(t, n->in[1], dup);
}

int bk_tape_mul(bk_tape *t, int a, int b) {
    node n;
    int y = push_pair(t, OP_MUL, a, b, &n);
    if (y < 0) return y;
    t->d->ops->copy(t->d, n.y, at(t, a)->y, size_of(&n));
    t->d->ops->mul(t->d, n.y, at(t, b)->y, size_of(&n));
    return y;
}

int bk_tape_add(bk_tape *t, int a, int b) {
    node n;
    int y = push_pair(t, OP_ADD, a, b, &n);
    if (y < 0) return y;
    t->d->ops->copy(t->d, n.y, at(t, a)->y, size_of(&n));
    t->d->ops->add(t->d, n.y, at(t, b)->y, size_of(&n));
    return y;
}

/* Of a * b and a + b, one input after the other: they may be the same value. */
static void pair_back(bk_tape *t, const node *n) {
    for (int i = 0; i < 2; i++) {
        if (!wanted(t, n->in[i])) continue;
        bk_vec dx = open_grad(t, n->in[i]);
        if (!dx.mem) return;
        t->d->ops->copy(t->d, dx, n->dy, size_of(n));
        if (n->op == OP_MUL) t->d->ops->mul(t->d, dx, at(t, n->in[1 - i])->y, size_of(n));
        close_grad(t, n->in[i], dx);
    }
}

/* A node of the shape of its only input. */
static int push_same(bk_tape *t, int x, node *n) {
    if (!there(t, x, x)) return BK_TAPE_NONE;
    n->rows = at(t, x)->rows;
    n->cols = at(t, x)->cols;
    n->in[0] = x;
    return push_value(t, n);
}

int bk_tape_act(bk_tape *t, bk_act kind, int x) {
    node n = NODE(.op = OP_ACT, .act = kind);
    int y = push_same(t, x, &n);
    if (y >= 0) t->d->ops->act(t->d, kind, at(t, x)->y, size_of(&n), n.y);
    return y;
}

static void act_back(bk_tape *t, const node *n) {
    bk_vec dx = open_grad(t, n->in[0]);
    if (!dx.mem) return;
    t->d->ops->act_bwd(t->d, n->act, at(t, n->in[0])->y, n->y, n->dy, size_of(n), dx);
    close_grad(t, n->in[0], dx);
}

int bk_tape_dropout(bk_tape *t, int x, float p, uint64_t seed, uint64_t from) {
    node n = NODE(.op = OP_DROPOUT, .number = p, .seed = seed, .at = from);
    int y = push_same(t, x, &n);
    if (y >= 0) t->d->ops->dropout(t->d, at(t, x)->y, size_of(&n), p, seed, from, n.y);
    return y;
}

static void dropout_back(bk_tape *t, const node *n) {
    bk_vec dx = open_grad(t, n->in[0]);
    if (!dx.mem) return;
    t->d->ops->dropout(t->d, n->dy, size_of(n), n->number, n->seed, n->at, dx);
    close_grad(t, n->in[0], dx);
}

static int push_part(bk_tape *t, op kind, int x, size_t from, size_t rows, size_t cols) {
    node n = NODE(.op = kind, .rows = rows, .cols = cols, .from = from);
    n.in[0] = x;
    return push_value(t, &n);
}

int bk_tape_columns(bk_tape *t, int x, size_t from, size_t n) {
    if (!there(t, x, x)) return BK_TAPE_NONE;
    size_t rows = at(t, x)->rows, cols = at(t, x)->cols;
    if (from > cols || n > cols - from) return fail(t, BK_ERR_INVALID, "columns: not that many");
    int y = push_part(t, OP_COLUMNS, x, from, rows, n);
    for (size_t r = 0; y >= 0 && r < rows; r++)
        t->d->ops->copy(t->d, bk_vec_at(at(t, y)->y, r * n),
                        bk_vec_at(at(t, x)->y, r * cols + from), n);
    return y;
}

int bk_tape_rows(bk_tape *t, int x, size_t from, size_t n) {
    if (!there(t, x, x)) return BK_TAPE_NONE;
    size_t rows = at(t, x)->rows, cols = at(t, x)->cols;
    if (from > rows || n > rows - from) return fail(t, BK_ERR_INVALID, "rows: not that many");
    int y = push_part(t, OP_ROWS, x, from, n, cols);
    if (y >= 0) t->d->ops->copy(t->d, at(t, y)->y, bk_vec_at(at(t, x)->y, from * cols), n * cols);
    return y;
}

static void part_back(bk_tape *t, const node *n) {
    size_t cols = at(t, n->in[0])->cols;
    bk_vec dx = zeroed_grad(t, n->in[0]);
    if (n->op == OP_ROWS)
        t->d->ops->add(t->d, bk_vec_at(dx, n->from * cols), n->dy, size_of(n));
    else
        for (size_t r = 0; r < n->rows; r++)
            t->d->ops->add(t->d, bk_vec_at(dx, r * cols + n->from), bk_vec_at(n->dy, r * n->cols),
                           n->cols);
}

int bk_tape_cross_entropy(bk_tape *t, int x, bk_vec target, float scale) {
    if (!there(t, x, x)) return BK_TAPE_NONE;
    const node *a = at(t, x);
    node n =
        NODE(.op = OP_CROSS_ENTROPY, .rows = a->rows, .cols = 1, .saved = target, .number = scale);
    n.in[0] = x;
    int y = push_value(t, &n);
    a = y < 0 ? NULL : at(t, x);
    if (a)
        t->d->ops->cross_entropy(t->d, a->y, a->rows, a->cols, a->cols, target, n.y, false, scale);
    return y;
}

/* The operation turns values into gradients where they lie: of a copy, since values stay. */
static void cross_entropy_back(bk_tape *t, const node *n) {
    const node *x = at(t, n->in[0]);
    bk_vec dx = open_grad(t, n->in[0]);
    if (!dx.mem) return;
    t->d->ops->copy(t->d, dx, x->y, size_of(x));
    t->d->ops->cross_entropy(t->d, dx, x->rows, x->cols, x->cols, n->saved, n->y, true, n->number);
    close_grad(t, n->in[0], dx);
}

/* ---- All the way back ---------------------------------------------------------------------------- */

typedef void (*back_fn)(bk_tape *t, const node *n);
static const back_fn backs[] = {
    [OP_LINEAR] = linear_back,
    [OP_EMBED] = embed_back,
    [OP_RMS_NORM] = rms_norm_back,
    [OP_ROPE] = rope_back,
    [OP_ATTENTION] = attention_back,
    [OP_SILU_MUL] = silu_mul_back,
    [OP_ACT] = act_back,
    [OP_MUL] = pair_back,
    [OP_ADD] = pair_back,
    [OP_COLUMNS] = part_back,
    [OP_ROWS] = part_back,
    [OP_DROPOUT] = dropout_back,
    [OP_CROSS_ENTROPY] = cross_entropy_back,
};

bk_status bk_tape_backward(bk_tape *t, bk_error *err) {
    for (size_t i = t->n; i-- > 0 && !t->err.code;) {
        const node *n = &t->nodes[i];
        /* A loss is where gradients begin; others that none has reached were of no use. */
        bool reached = n->op == OP_CROSS_ENTROPY ? n->dy.mem != NULL : n->has_dy;
        if (n->op != OP_LEAF && n->dy.mem && reached) backs[n->op](t, n);
    }
    if (t->err.code) return bk_fail(err, t->err.code, "%s", t->err.text);
    return t->d->ops->finish(t->d, err);
}

double bk_tape_loss(bk_tape *t) {
    double loss = 0;
    for (size_t i = 0; i < t->n && !t->err.code; i++) {
        const node *n = &t->nodes[i];
        if (n->op == OP_CROSS_ENTROPY)
            loss += (double)n->number * t->d->ops->sum(t->d, n->y, n->rows);
    }
    return loss;
}
