/* The small transformer: RMSNorm, rotary positions, grouped queries, SwiGLU (Touvron et al. 2023, arXiv
 * 2302.13971). Rows are windows of T tokens, b * T + t. First values as in GPT-2: normal 0.02, what
 * adds to the residual smaller by the square root of their count (Radford et al. 2019). */
#include <math.h>

#include "base/mem.h"
#include "train/lm.h"

typedef struct block {
    size_t norm1, wq, wk, wv, wo, norm2, gate, up, down; /* parameters */
    bk_vec x, n1, rstd1, qkv, y, lse;                    /* x: what comes in */
    bk_vec mid, n2, rstd2, g, u, s;                      /* s = silu(g) * u */
} block;

typedef struct llama {
    bk_lm lm;
    size_t d, kv, ffn, L; /* kv: width of keys */
    int heads, kv_heads, head_size;
    bool tied;
    float eps, theta;
    size_t embed, norm, out; /* parameters */
    block *blocks;
    bk_vec x, n, rstd; /* after the last block, and through the last norm */
    bk_vec dx, dn, db; /* [R][d]: gradients of the residual, behind a norm, of a branch */
    bk_vec dqkv, ds;
    bk_mem *scratch;
} llama;

static llama *llama_of(bk_lm *m) { return (llama *)m; }

/* The joined matrix of queries, keys and values. */
static bk_linear qkv_of(const llama *s, const block *b) {
    return bk_lm_linear(&s->lm, b->wq, s->d + 2 * s->kv, s->d);
}

static bk_nn_attention attention_of(const llama *s, const block *b) {
    size_t ld = s->d + 2 * s->kv;
    bk_nn_attention a = {.B = s->lm.B,
                         .T = s->lm.T,
                         .n_heads = s->heads,
                         .n_kv_heads = s->kv_heads,
                         .head_size = s->head_size,
                         .q = b->qkv,
                         .k = bk_vec_at(b->qkv, s->d),
                         .v = bk_vec_at(b->qkv, s->d + s->kv),
                         .ldq = ld,
                         .ldkv = ld,
                         .y = b->y,
                         .lse = b->lse,
                         .dy = s->db,
                         .dq = s->dqkv,
                         .dk = bk_vec_at(s->dqkv, s->d),
                         .dv = bk_vec_at(s->dqkv, s->d + s->kv)};
    return a;
}

/* Queries and keys lie side by side and turn alike. */
static void turn(const llama *s, bk_vec qkv, int sign) {
    bk_nn *nn = s->lm.task.nn;
    nn->ops->rope(nn, qkv, s->lm.R, s->d + 2 * s->kv, s->lm.T, s->heads + s->kv_heads, s->head_size,
                  s->theta, sign);
}

/* ---- Forward ------------------------------------------------------------------------------------ */

static void norm_forward(const llama *s, bk_vec x, size_t w, bk_vec y, bk_vec rstd) {
    bk_nn *nn = s->lm.task.nn;
    nn->ops->rms_norm(nn, x, s->lm.R, s->d, bk_param_w(s->lm.task.params, w), s->eps, y, rstd);
}

/* out = x + branch W^T, with dropout on what is added. */
static void residual(llama *s, bk_vec x, bk_vec branch, size_t w, size_t k, bk_vec out,
                     unsigned at) {
    bk_nn *nn = s->lm.task.nn;
    size_t n = s->lm.R * s->d;
    bk_linear l = bk_lm_linear(&s->lm, w, s->d, k);
    nn->ops->copy(nn, out, x, n);
    if (!s->lm.learning || s->lm.task.o.dropout <= 0) {
        bk_linear_forward(nn, &l, branch, (bk_vec){0}, out, true);
        return;
    }
    bk_linear_forward(nn, &l, branch, (bk_vec){0}, s->db, false);
    bk_lm_dropout(&s->lm, s->db, n, at);
    nn->ops->add(nn, out, s->db, n);
}

static void block_forward(llama *s, size_t l) {
    bk_nn *nn = s->lm.task.nn;
    block *b = &s->blocks[l];
    bk_vec none = {0}, out = l + 1 < s->L ? s->blocks[l + 1].x : s->x;
    norm_forward(s, b->x, b->norm1, b->n1, b->rstd1);
    bk_linear qkv = qkv_of(s, b);
    bk_linear_forward(nn, &qkv, b->n1, none, b->qkv, false);
    turn(s, b->qkv, 1);
    bk_nn_attention a = attention_of(s, b);
    nn->ops->attention(nn, &a);
    residual(s, b->x, b->y, b->wo, s->d, b->mid, 2 * (unsigned)l + 1);
    norm_forward(s, b->mid, b->norm2, b->n2, b->rstd2);
    bk_linear gate = bk_lm_linear(&s->lm, b->gate, s->ffn, s->d);
    bk_linear up = bk_lm_linear(&s->lm, b->up, s->ffn, s->d);
    bk_linear_forward(nn, &gate, b->n2, none, b->g, false);
    bk_linear_forward(nn, &up, b->n2, none, b->u, false);
    nn->ops->silu_mul(nn, b->g, b->u, s->lm.R * s->ffn, b->s);
    residual(s, b->mid, b->s, b->down, s->ffn, out, 2 * (unsigned)l + 2);
}

static void forward(bk_lm *m) {
    llama *s = llama_of(m);
    bk_nn *nn = m->task.nn;
    bk_vec x0 = s->blocks[0].x;
    nn->ops->embed(nn, m->ids, m->R, bk_param_w(m->task.params, s->embed), s->d, x0);
    bk_lm_dropout(m, x0, m->R * s->d, 0);
    for (size_t l = 0; l < s->L; l++) block_forward(s, l);
    norm_forward(s, s->x, s->norm, s->n, s->rstd);
    bk_linear out = bk_lm_linear(m, s->out, m->V, s->d);
    bk_linear_forward(nn, &out, s->n, (bk_vec){0}, m->logits, false);
}

/* ---- Backward ----------------------------------------------------------------------------------- */

/* Gradient of what a norm gave out (s->dn) to that of what it took, added to s->dx. */
static void norm_backward(llama *s, bk_vec x, bk_vec rstd, size_t w, bool add) {
    bk_nn *nn = s->lm.task.nn;
    const bk_params *p = s->lm.task.params;
    nn->ops->rms_norm_bwd(nn, x, rstd, s->lm.R, s->d, bk_param_w(p, w), s->dn, s->dx, add,
                          bk_param_grad(p, w));
}

/* From s->dx to the gradient of the branch that was added there. */
static void branch_backward(llama *s, bk_vec branch, size_t w, size_t k, bk_vec d_branch,
                            unsigned at) {
    bk_nn *nn = s->lm.task.nn;
    bk_linear l = bk_lm_linear(&s->lm, w, s->d, k);
    bk_vec dy = s->dx;
    if (s->lm.task.o.dropout > 0) {
        nn->ops->copy(nn, s->dn, s->dx, s->lm.R * s->d);
        bk_lm_dropout(&s->lm, s->dn, s->lm.R * s->d, at);
        dy = s->dn;
    }
    bk_linear_backward(nn, &l, branch, dy, d_branch, false);
}

static void block_backward(llama *s, size_t l) {
    bk_nn *nn = s->lm.task.nn;
    block *b = &s->blocks[l];
    branch_backward(s, b->s, b->down, s->ffn, s->ds, 2 * (unsigned)l + 2);
    nn->ops->silu_mul_bwd(nn, b->g, b->u, s->ds, s->lm.R * s->ffn, b->g, b->u);
    bk_linear gate = bk_lm_linear(&s->lm, b->gate, s->ffn, s->d);
    bk_linear up = bk_lm_linear(&s->lm, b->up, s->ffn, s->d);
    bk_linear_backward(nn, &gate, b->n2, b->g, s->dn, false);
    bk_linear_backward(nn, &up, b->n2, b->u, s->dn, true);
    norm_backward(s, b->mid, b->rstd2, b->norm2, true);
    branch_backward(s, b->y, b->wo, s->d, s->db, 2 * (unsigned)l + 1);
    bk_nn_attention a = attention_of(s, b);
    nn->ops->attention_bwd(nn, &a);
    turn(s, s->dqkv, -1);
    bk_linear qkv = qkv_of(s, b);
    bk_linear_backward(nn, &qkv, b->n1, s->dqkv, s->dn, false);
    norm_backward(s, b->x, b->rstd1, b->norm1, true);
}

static void backward(bk_lm *m) {
    llama *s = llama_of(m);
    bk_nn *nn = m->task.nn;
    bk_linear out = bk_lm_linear(m, s->out, m->V, s->d);
    bk_linear_backward(nn, &out, s->n, m->logits, s->dn, false);
    norm_backward(s, s->x, s->rstd, s->norm, false);
    for (size_t l = s->L; l-- > 0;) block_backward(s, l);
    bk_lm_dropout(m, s->dx, m->R * s->d, 0);
    bk_vec grad = bk_param_grad(m->task.params, s->embed);
    if (grad.mem) nn->ops->embed_bwd(nn, m->ids, m->R, s->dx, s->d, grad);
}

/* ---- Weights ------------------------------------------------------------------------------------ */

static void add_params(llama *s, bk_params *p) {
    size_t d = s->d, kv = s->kv, V = s->lm.V;
    s->embed = bk_params_matrix(p, false, V, d, "token_embd.weight");
    for (size_t l = 0; l < s->L; l++) {
        block *b = &s->blocks[l];
        b->norm1 = bk_params_vector(p, d, "blk.%zu.attn_norm.weight", l);
        b->wq = bk_params_matrix(p, false, d, d, "blk.%zu.attn_q.weight", l);
        b->wk = bk_params_matrix(p, true, kv, d, "blk.%zu.attn_k.weight", l);
        b->wv = bk_params_matrix(p, true, kv, d, "blk.%zu.attn_v.weight", l);
        b->wo = bk_params_matrix(p, false, d, d, "blk.%zu.attn_output.weight", l);
        b->norm2 = bk_params_vector(p, d, "blk.%zu.ffn_norm.weight", l);
        b->gate = bk_params_matrix(p, false, s->ffn, d, "blk.%zu.ffn_gate.weight", l);
        b->up = bk_params_matrix(p, false, s->ffn, d, "blk.%zu.ffn_up.weight", l);
        b->down = bk_params_matrix(p, false, d, s->ffn, "blk.%zu.ffn_down.weight", l);
    }
    s->norm = bk_params_vector(p, d, "output_norm.weight");
    s->out = s->tied ? s->embed : bk_params_matrix(p, false, V, d, "output.weight");
}

static bk_status init(bk_lm *m, bk_error *err) {
    llama *s = llama_of(m);
    bk_params *p = m->task.params;
    double small = 0.02 / sqrt(2 * (double)s->L);
    bk_status st = BK_OK;
    for (size_t i = 0; !st && i < p->n; i++) {
        double std = 0.02;
        for (size_t l = 0; l < s->L; l++)
            if (i == s->blocks[l].wo || i == s->blocks[l].down) std = small;
        bool matrix = p->list[i].matrix;
        st = bk_params_init(p, i, matrix ? BK_INIT_NORMAL : BK_INIT_CONSTANT, matrix ? std : 1,
                            m->task.o.seed, err);
    }
    return st;
}

static void keys(const bk_lm *m, bk_gguf_builder *b) {
    const llama *s = (const llama *)m;
    bk_gguf_builder_str(b, "general.architecture", BK_STR("llama"));
    bk_gguf_builder_u32(b, "llama.context_length",
                        (uint32_t)bk_max_int(m->task.o.context, (int)m->T));
    bk_gguf_builder_u32(b, "llama.embedding_length", (uint32_t)s->d);
    bk_gguf_builder_u32(b, "llama.block_count", (uint32_t)s->L);
    bk_gguf_builder_u32(b, "llama.feed_forward_length", (uint32_t)s->ffn);
    bk_gguf_builder_u32(b, "llama.attention.head_count", (uint32_t)s->heads);
    bk_gguf_builder_u32(b, "llama.attention.head_count_kv", (uint32_t)s->kv_heads);
    bk_gguf_builder_u32(b, "llama.rope.dimension_count", (uint32_t)s->head_size);
    bk_gguf_builder_f32(b, "llama.rope.freq_base", s->theta);
    bk_gguf_builder_f32(b, "llama.attention.layer_norm_rms_epsilon", s->eps);
    bk_gguf_builder_u32(b, "llama.vocab_size", (uint32_t)m->V);
}

/* ---- Making one --------------------------------------------------------------------------------- */

static void destroy(bk_lm *m) {
    llama *s = llama_of(m);
    if (s->scratch) m->task.nn->ops->mem_destroy(m->task.nn, s->scratch);
    bk_free(s->blocks);
    bk_free(s);
}

/* One memory for all activations; called twice, to count and to place. */
static size_t place(llama *s) {
    size_t R = s->lm.R, Rd = R * s->d, Rf = R * s->ffn, ld = s->d + 2 * s->kv, at = 0;
    bk_mem *mem = s->scratch;
    for (size_t l = 0; l < s->L; l++) {
        block *b = &s->blocks[l];
        b->x = bk_take(mem, &at, Rd);
        b->n1 = bk_take(mem, &at, Rd);
        b->qkv = bk_take(mem, &at, R * ld);
        b->y = bk_take(mem, &at, Rd);
        b->mid = bk_take(mem, &at, Rd);
        b->n2 = bk_take(mem, &at, Rd);
        b->g = bk_take(mem, &at, Rf);
        b->u = bk_take(mem, &at, Rf);
        b->s = bk_take(mem, &at, Rf);
        b->rstd1 = bk_take(mem, &at, R);
        b->rstd2 = bk_take(mem, &at, R);
        b->lse = bk_take(mem, &at, R * (size_t)s->heads);
    }
    s->x = bk_take(mem, &at, Rd);
    s->n = bk_take(mem, &at, Rd);
    s->dx = bk_take(mem, &at, Rd);
    s->dn = bk_take(mem, &at, Rd);
    s->db = bk_take(mem, &at, Rd);
    s->dqkv = bk_take(mem, &at, R * ld);
    s->ds = bk_take(mem, &at, Rf);
    s->rstd = bk_take(mem, &at, R);
    return at;
}

static bk_status check_heads(const bk_train_options *o, bk_error *err) {
    if (o->embedding % (2 * o->heads) != 0)
        return bk_fail(
            err, BK_ERR_INVALID,
            "an embedding of %d does not make %d heads of even width; give a multiple of "
            "%d",
            o->embedding, o->heads, 2 * o->heads);
    if (o->heads % o->kv_heads != 0)
        return bk_fail(err, BK_ERR_INVALID, "%d heads cannot share %d key heads evenly", o->heads,
                       o->kv_heads);
    return BK_OK;
}

static const struct bk_lm_ops ops = {
    .destroy = destroy, .init = init, .forward = forward, .backward = backward, .keys = keys};

bk_status bk_llama_create(const bk_train_options *o, bk_nn *nn, bk_params *params, size_t n_vocab,
                          bk_lm **out, bk_error *err) {
    bk_status st = check_heads(o, err);
    if (st) return st;
    llama *s = bk_alloc_zero(1, sizeof *s);
    block *blocks = bk_alloc_zero((size_t)o->layers, sizeof *blocks);
    if (!s || !blocks) {
        bk_free(s);
        bk_free(blocks);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a model of %d layers", o->layers);
    }
    int head = o->embedding / o->heads;
    *s = (llama){.d = (size_t)o->embedding,
                 .kv = (size_t)(head * o->kv_heads),
                 .ffn = (size_t)(o->ffn ? o->ffn : (o->embedding * 8 / 3 + 31) / 32 * 32),
                 .L = (size_t)o->layers,
                 .heads = o->heads,
                 .kv_heads = o->kv_heads,
                 .head_size = head,
                 .tied = o->tied,
                 .eps = o->norm_eps,
                 .theta = o->rope_base,
                 .blocks = blocks};
    bk_lm *m = &s->lm;
    m->task = (bk_task){.o = *o, .nn = nn, .params = params};
    m->task.o.ffn = (int)s->ffn;
    m->ops = &ops;
    m->B = (size_t)o->batch;
    m->T = (size_t)o->sequence;
    m->R = m->B * m->T;
    m->V = n_vocab;
    add_params(s, params);
    size_t words = place(s);
    bool good = true;
    st = bk_lm_check_memory(m, words, err);
    if (!st) s->scratch = bk_lm_alloc(m, words, &good).mem;
    if (!st && !good)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for the activations of %d windows of %d tokens",
                     o->batch, o->sequence);
    if (st) {
        destroy(m);
        return st;
    }
    place(s);
    *out = m;
    return BK_OK;
}
