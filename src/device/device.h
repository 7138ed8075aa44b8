/* A device computes: it owns weights and pages in its own form and runs lists of commands.
 *
 * A model's forward pass is a flat list of bk_cmd, recorded by model/ without knowing what runs
 * it. The CPU device (cpu.c) runs a list in one parallel region with a barrier after each command;
 * a GPU device would enqueue it. Buffers named here are host-visible float rows. */
#ifndef BRISK_DEVICE_DEVICE_H
#define BRISK_DEVICE_DEVICE_H

#include "base/error.h"
#include "kernel/kv_chunk.h"
#include "quant/sparse.h"
#include "sys/cpu.h"

typedef struct bk_device bk_device;

/* A matrix [n_rows][k] in the device's form, or a stack of such; y = W x. Immutable after loading. */
typedef struct bk_weight bk_weight;

/* Where the keys and values of attention lie inside a page: one chunk (kernel/kv_chunk.h) for each
 * KV head of each layer, page + bk_page_layer_bytes * layer + bk_kv_chunk_bytes * kv_head. */
typedef struct bk_attn_shape {
    int n_heads, n_kv_heads, head_size, rope_dims;
    float scale; /* of the scores */
    float cap;   /* soft cap of the scores, 0: none */
    int window;  /* positions seen, 0: all */
    bk_kv_type kv_type;
    bool neox; /* rotate halves (i, i + dims/2) instead of neighbours (2i, 2i + 1) */
} bk_attn_shape;

/* A recurrent layer's page: h, then c of each position, padded alike. */
static inline size_t bk_lstm_state(size_t hidden) { return 2 * bk_round_up(hidden, 16); }

/* One row of a pass. */
typedef struct bk_row {
    uint32_t pos;      /* position in its sequence */
    uint32_t seq;      /* which bk_seq_view */
    uint32_t seq_rows; /* rows of this sequence in the pass, consecutive */
} bk_row;

/* Pages of one sequence, per layer group (cache/kv.h). */
typedef struct bk_seq_view {
    void *const *pages[2];
} bk_seq_view;

typedef enum bk_op {
    BK_OP_EMBED,
    BK_OP_PRODUCT,
    BK_OP_ATTENTION,
    BK_OP_LSTM,
    BK_OP_ROUTE,
    BK_OP_COMBINE,
    BK_OP_SOFT_CAP,
    BK_OP_SPREAD
} bk_op;

/* How the input rows of a product come about. The device does this as part of the product: in its
 * own scratch, quantised where the weights want it, once per thread when rows are few. */
typedef enum bk_input_kind {
    BK_INPUT_ROWS, /* x as it is */
    BK_INPUT_NORM, /* rms_norm(x) * weight */
    BK_INPUT_GATE  /* activation(x) * up */
} bk_input_kind;

typedef enum bk_gate { BK_GATE_SILU, BK_GATE_GELU } bk_gate;

typedef struct bk_input {
    bk_input_kind kind;
    size_t k;       /* values a row */
    const float *x; /* [rows][ld] */
    size_t ld;
    const int32_t *index; /* row i is x[index[i]]; NULL: x[i] */
    const float *weight;  /* NORM: [k] */
    float eps;            /* NORM */
    const float *up;      /* GATE: [rows][ld] */
    bk_gate gate;         /* GATE */
    /* NORM of a residual that is still to be added: x + rms_norm(add) * add_weight takes the place of
     * x, and goes to sum where that is not NULL. add NULL: none. */
    const float *add; /* [rows][ld] */
    const float *add_weight;
    float *sum; /* [rows][ld], not x */
} bk_input;

/* Which expert computes what. A slot is a row times one of the experts chosen for it; slots are in
 * order of expert, within that of row. */
typedef struct bk_routes {
    int n_experts, n_used; /* n_used per row */
    int32_t *first;        /* [n_experts + 1] slots [first[e], first[e + 1]) are of expert e */
    int32_t *row;          /* [slots] */
    int32_t *slot;         /* [rows][n_used], best expert first */
    float *weight;         /* [rows][n_used] */
} bk_routes;

enum { BK_MAX_PRODUCTS = 3 };

/* Bounds with which most rows of a product need not be computed. out holds estimates of all of a few rows
 * (at most BK_SCREEN_ROWS): products of other weights with the same input, which are off by at most
 *     factor * radius[i] * |input|      and by at most
 *     factor * radius[i] * (sum over blocks b of 32 of share[i][b] / 255 * |input b| + |input| / 1024)
 * for row i of w; radius is the upper half of a float. A group of rows is computed when one of its
 * estimates may belong to a value within `margin` of the largest; what stays behind becomes -infinity. */
enum { BK_SCREEN_ROWS = 8, BK_SCREEN_BLOCKS = 256 }; /* BLOCKS: of an input, at most */

typedef struct bk_screen {
    const uint16_t *radius; /* [n_rows of w] */
    const uint8_t *share;   /* [n_rows of w][k / 32] */
    float factor;
    float margin[BK_SCREEN_ROWS];
    uint64_t computed; /* counts rows of w that were, for all rows of the input */
} bk_screen;

typedef struct bk_cmd {
    bk_op op;
    const char *what; /* the model's name for it, in traces (device/trace.h); static */
    size_t rows;
    union {
        /* x[row] = table[tokens[row]] * scale */
        struct {
            const int32_t *tokens;
            const bk_weight *table;
            float scale;
            float *x;
            size_t ldx;
        } embed;
        /* out[i][row] (+)= w[i] * input[row], n products of the same input. With routes rows are
         * slots, and w[i] stacks the matrices of all experts: n_experts times equally many rows. */
        struct {
            bk_input input;
            int n;
            const bk_weight *w[BK_MAX_PRODUCTS];
            float *out[BK_MAX_PRODUCTS];
            size_t ldo[BK_MAX_PRODUCTS];
            bool add;
            bool fast; /* with the coarser scales of kernel/fast.h */
            const bk_routes *routes;
            const float *bias[BK_MAX_PRODUCTS]; /* out[i] = bias + ..., without add; NULL: none */
            /* Only these groups of BK_GROUP_ROWS rows of w[0], its only one, go where they go always;
             * the rest of out stays as it is. NULL: all. */
            const int32_t *groups;
            size_t n_groups;
            bk_screen *screen; /* w[0] alone, of an integer format; NULL: all is computed */
        } product;
        /* Adds biases to q, k and v, norms every head of q and k, rotates these by the row's angles
         * (all in place), stores k and v into the pages, then
         * out[row] = attention of q[row] over its sequence, positions up to its own. */
        struct {
            float *q, *k, *v, *out; /* [rows][ldq], [rows][ldkv] twice, [rows][ldo] */
            size_t ldq, ldkv, ldo;
            const float *q_bias, *k_bias, *v_bias; /* over all heads; NULL: none */
            const float *q_norm, *k_norm;          /* [head_size]; NULL: none */
            float eps;
            const float *angles; /* [rows][rope_dims / 2][2]: cos, sin */
            const bk_row *row;
            const bk_seq_view *seqs;
            const bk_attn_shape *shape;
            int group, layer; /* of the pages */
        } attention;
        /* One layer of an LSTM (Hochreiter and Schmidhuber 1997; gates and biases as torch.nn.LSTM
         * has them). gates[row]: the input's part of what goes into i, f, g, o, n values each, of
         * which w[i] bring the part of h one position before, out of the pages; h and c of every row
         * go there, h to out[row], too. Rows of a sequence go one after another. */
        struct {
            const float *gates, *bias; /* [rows][4 * n]; [4 * n] */
            const bk_weight *w[4];     /* [n][n] */
            float *out;                /* [rows][n] */
            size_t n;
            const bk_row *row;
            const bk_seq_view *seqs;
            int layer; /* of the pages of group 0 */
        } lstm;
        /* The n_used best of each row's scores, weighted by the softmax over them (Jiang et al. 2024,
         * Mixtral, section 2.1); equal scores: the lower expert. Fills routes. */
        struct {
            const float *scores; /* [rows][n_experts] */
            bk_routes *routes;
        } route;
        /* x[row] += sum of weight * y[slot] over the row's slots, best expert first */
        struct {
            const float *y; /* [slots][ldx] */
            const bk_routes *routes;
            float *x;
            size_t n, ldx;
        } combine;
        /* x[row] = cap * tanh(x[row] / cap) */
        struct {
            float *x;
            size_t n, ldx;
            float cap;
        } soft_cap;
        /* Bits of words of 32: token i has bit i % 32 of word i / 32. Where a row's `allowed` has none,
         * out is -infinity; where `keep` has one it is x, which has the kept ones side by side, `rank`
         * of them before each word (x NULL: as it is); elsewhere as it is, with a soft cap unless that
         * is 0. */
        struct {
            const float *x; /* [rows][ldx] */
            size_t ldx;
            const uint32_t *keep, *rank, *allowed; /* [words], [words], [rows][words] */
            size_t words, n;                       /* n: values of a row of out */
            float cap;
            float *out; /* [rows][n] */
        } spread;
    };
} bk_cmd;

enum { BK_LOAD_ROWS = 64 };

struct bk_device_ops {
    const char *name;
    void (*destroy)(bk_device *d);

    /* UNSUPPORTED when the device has no kernel for the type, NOMEM. */
    bk_status (*weight_create)(bk_device *d, const bk_quant *type, size_t n_rows, size_t k,
                               bk_weight **out, bk_error *err);
    /* Puts its bytes out of the caches, for measurements. */
    void (*weight_forget)(bk_device *d, const bk_weight *w);
    /* With what is in it, for products and tables alone: no stacks, no LSTM. NOMEM, IO. */
    bk_status (*weight_create_sparse)(bk_device *d, const bk_sparse *s, bk_weight **out,
                                      bk_error *err);
    void (*weight_destroy)(bk_device *d, bk_weight *w);
    /* Brings rows [first, first + n) into the device's form, all threads together; first is a multiple
     * of BK_LOAD_ROWS, and so is n but at the end. rows: row 0 as in the file. */
    void (*weight_load)(bk_device *d, bk_weight *w, const uint8_t *rows, size_t first, size_t n);

    /* Zeroed memory; NULL when short. */
    void *(*page_alloc)(bk_device *d, size_t bytes);
    void (*page_free)(bk_device *d, void *page);
    void (*page_copy)(bk_device *d, void *dst, const void *src, size_t bytes);
    void (*page_read)(bk_device *d, const void *page, size_t offset, void *out, size_t bytes);
    void (*page_write)(bk_device *d, void *page, size_t offset, const void *src, size_t bytes);

    /* Runs the commands in order; returns when all are done. NOMEM when scratch cannot be had. */
    bk_status (*run)(bk_device *d, const bk_cmd *cmds, size_t n, bk_error *err);
};

/* Looks on while lists run, which takes a multiple of their time. */
typedef struct bk_observer {
    /* Before a product: x[c->rows][ld], the floats that it multiplies, made as its input says; with
     * routes row i is slot i. After an LSTM layer: what its units say, which its recurrent matrices
     * multiply at the next positions. Called on the thread that runs the list. */
    void (*see)(const bk_cmd *c, const float *x, size_t ld, void *user);
    void *user;
} bk_observer;

struct bk_device {
    const struct bk_device_ops *ops;
    bk_cpu_level level;
    int threads;
    /* Both NULL: none. Changed only while nothing runs; a trace notes nothing while there is an
     * observer. */
    struct bk_trace *trace;
    const bk_observer *observer;
};

/* Properties of a weight that the model needs; the type is that of the dense matrix. */
const bk_quant *bk_weight_type(const bk_weight *w);
size_t bk_weight_bytes(const bk_weight *w);
size_t bk_weight_rows(const bk_weight *w);

/* The CPU device: kernels of `level` or the best below, a pool of `threads`. */
bk_status bk_device_cpu_create(bk_cpu_level level, int threads, bk_device **out, bk_error *err);

static inline void bk_device_destroy(bk_device **d) {
    if (*d) (*d)->ops->destroy(*d);
    *d = NULL;
}

/* Bytes of one layer in a page: of keys and values, or of a recurrent layer's state of so many floats
 * at each position; how many positions these are. */
size_t bk_page_layer_bytes(bk_kv_type type, int n_kv_heads, int head_size);
size_t bk_page_state_bytes(size_t floats);
size_t bk_page_positions(void);

#endif
