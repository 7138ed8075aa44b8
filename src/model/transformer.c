/* The forward pass of every decoder-only transformer here. Per layer, with n = rms_norm(x),
 *     x += [norm] Wo attention(rope([norm] Wq n), rope([norm] Wk n), Wv n)
 *     x += [norm] Wdown (act(Wgate n) * (Wup n))      or the weighted sum over chosen experts
 * and logits = head rms_norm(x). What stands in brackets, biases, windows and caps depend on the
 * model's features. Vaswani et al. 2017; RMSNorm: Zhang and Sennrich 2019; SwiGLU: Shazeer 2020;
 * grouped queries: Ainslie et al. 2023.
 *
 * A post-norm costs no pass of its own: what a block adds stays aside (`delta`), and the next norm
 * adds it on its way, writing the sum to the other copy of x. */
#include <math.h>
#include <string.h>

#include "model/arch.h"

/* Where the residual stream is while commands are recorded. */
typedef struct stream {
    bk_pass *p;
    float *x, *other;
    const float *post_norm; /* of the delta that x still lacks; NULL: none */
} stream;

static bk_input norm_of_x(const stream *s, const float *weight) {
    const bk_config *cfg = &s->p->model->config;
    return (bk_input){.kind = BK_INPUT_NORM,
                      .k = (size_t)cfg->n_embd,
                      .x = s->x,
                      .ld = (size_t)cfg->n_embd,
                      .weight = weight,
                      .eps = cfg->norm_eps};
}

/* The same for all rows, with x made whole first. */
static bk_input next_norm(stream *s, const float *weight) {
    bk_input in = norm_of_x(s, weight);
    if (!s->post_norm) return in;
    in.add = s->p->delta;
    in.add_weight = s->post_norm;
    in.sum = s->other;
    s->other = s->x;
    s->x = in.sum;
    s->post_norm = NULL;
    return in;
}

/* x += w input, or into the delta that the next norm will add. */
static void add_to_x(stream *s, const char *what, bk_input input, const bk_weight *w,
                     const float *post_norm) {
    bk_cmd *c = bk_pass_products(s->p, what, s->p->n_rows, input, !post_norm);
    bk_pass_product(c, w, post_norm ? s->p->delta : s->x, (size_t)s->p->model->config.n_embd);
    s->post_norm = post_norm;
}

static void attention(stream *s, const bk_layer *l) {
    bk_pass *p = s->p;
    const bk_model *m = p->model;
    const bk_config *cfg = &m->config;
    size_t q = (size_t)bk_dim_size(cfg, BK_DIM_Q), kv = (size_t)bk_dim_size(cfg, BK_DIM_KV);
    /* q, k and v of a row lie side by side. */
    size_t ld = q + 2 * kv;
    bk_cmd *c = bk_pass_products(p, "qkv", p->n_rows, next_norm(s, l->attn_norm), false);
    if (l->qkv) {
        bk_pass_product(c, l->qkv, p->qkv, ld);
    } else {
        bk_pass_product(c, l->q, p->qkv, ld);
        bk_pass_product(c, l->k, p->qkv + q, ld);
        bk_pass_product(c, l->v, p->qkv + q + kv, ld);
    }
    const char *what = m->attn[l->group].window ? "attention, window" : "attention";
    c = bk_pass_add(p, BK_OP_ATTENTION, what, p->n_rows);
    c->attention.q = p->qkv, c->attention.k = p->qkv + q, c->attention.v = p->qkv + q + kv;
    c->attention.ldq = c->attention.ldkv = ld;
    c->attention.q_bias = l->q_bias, c->attention.k_bias = l->k_bias;
    c->attention.v_bias = l->v_bias;
    c->attention.q_norm = l->q_norm, c->attention.k_norm = l->k_norm;
    c->attention.eps = cfg->norm_eps;
    c->attention.out = p->attn, c->attention.ldo = q;
    c->attention.angles = p->angles[l->group];
    c->attention.row = p->rows, c->attention.seqs = p->seqs;
    c->attention.shape = &m->attn[l->group];
    c->attention.group = l->group, c->attention.layer = l->index;

    bk_input out = {.kind = BK_INPUT_ROWS, .k = q, .x = p->attn, .ld = q};
    add_to_x(s, "attention output", out, l->o, l->attn_post_norm);
}

static bk_input gated(const bk_config *cfg, const float *gate_up, size_t n_ff) {
    return (bk_input){.kind = BK_INPUT_GATE,
                      .k = n_ff,
                      .x = gate_up,
                      .up = gate_up + n_ff,
                      .ld = 2 * n_ff,
                      .gate = cfg->gelu ? BK_GATE_GELU : BK_GATE_SILU};
}

static void feed_forward(stream *s, const bk_layer *l) {
    bk_pass *p = s->p;
    const bk_config *cfg = &p->model->config;
    size_t n_ff = (size_t)cfg->n_ff;
    bk_cmd *c = bk_pass_products(p, "gate and up", p->n_rows, next_norm(s, l->ffn_norm), false);
    if (l->gate_up) {
        bk_pass_product(c, l->gate_up, p->gate_up, 2 * n_ff);
    } else {
        bk_pass_product(c, l->gate, p->gate_up, 2 * n_ff);
        bk_pass_product(c, l->up, p->gate_up + n_ff, 2 * n_ff);
    }
    add_to_x(s, "down", gated(cfg, p->gate_up, n_ff), l->down, l->ffn_post_norm);
}

/* Shazeer et al. 2017 (arXiv 1701.06538), as in Mixtral: the best experts of each row. */
static void experts(stream *s, const bk_layer *l) {
    bk_pass *p = s->p;
    const bk_config *cfg = &p->model->config;
    size_t n_ff = (size_t)cfg->n_ff_expert, n_embd = (size_t)cfg->n_embd;
    size_t slots = p->n_rows * (size_t)cfg->n_experts_used;
    bk_cmd *c = bk_pass_products(p, "router", p->n_rows, next_norm(s, l->ffn_norm), false);
    bk_pass_product(c, l->router, p->scores, (size_t)cfg->n_experts);

    c = bk_pass_add(p, BK_OP_ROUTE, "choice of experts", p->n_rows);
    c->route.scores = p->scores;
    c->route.routes = &p->routes;

    bk_input in = norm_of_x(s, l->ffn_norm);
    in.index = p->routes.row;
    c = bk_pass_products(p, "experts, gate and up", slots, in, false);
    c->product.routes = &p->routes;
    bk_pass_product(c, l->gate, p->expert_gate_up, 2 * n_ff);
    bk_pass_product(c, l->up, p->expert_gate_up + n_ff, 2 * n_ff);

    c = bk_pass_products(p, "experts, down", slots, gated(cfg, p->expert_gate_up, n_ff), false);
    c->product.routes = &p->routes;
    bk_pass_product(c, l->down, p->expert_out, n_embd);

    c = bk_pass_add(p, BK_OP_COMBINE, "sum of experts", p->n_rows);
    c->combine.y = p->expert_out;
    c->combine.routes = &p->routes;
    c->combine.x = s->x;
    c->combine.n = c->combine.ldx = n_embd;
}

static void head(stream *s) {
    bk_pass *p = s->p;
    const bk_model *m = p->model;
    /* Few rows, and nobody needs their sum after this. */
    bk_input last = norm_of_x(s, m->weights.out_norm);
    last.index = p->logit_rows;
    if (s->post_norm) last.add = p->delta, last.add_weight = s->post_norm;
    bk_head_record(p, "head", last);
}

void bk_transformer_record(bk_pass *p) {
    const bk_model *m = p->model;
    stream s = {.p = p, .x = p->x, .other = p->x2};
    bk_cmd *c = bk_pass_add(p, BK_OP_EMBED, "embedding", p->n_rows);
    c->embed.tokens = p->tokens;
    c->embed.table = m->weights.embed;
    c->embed.scale = m->config.embed_scale;
    c->embed.x = s.x, c->embed.ldx = (size_t)m->config.n_embd;

    for (int i = 0; i < m->config.n_layers; i++) {
        if (m->weights.layers[i].skip) continue;
        attention(&s, &m->weights.layers[i]);
        if (m->config.features & BK_EXPERTS)
            experts(&s, &m->weights.layers[i]);
        else
            feed_forward(&s, &m->weights.layers[i]);
    }
    p->last_x = s.x;
    p->last_post_norm = s.post_norm;
    if (p->n_logits) head(&s);
}

/* What a norm of row x multiplies by, beside the weights. */
static float norm_scale(const bk_config *cfg, const float *x) {
    double sum = 0;
    for (int i = 0; i < cfg->n_embd; i++) sum += (double)x[i] * (double)x[i];
    return (float)(1 / sqrt(sum / cfg->n_embd + (double)cfg->norm_eps));
}

void bk_transformer_hidden(const bk_pass *p, size_t row, float *out) {
    const bk_config *cfg = &p->model->config;
    size_t n = (size_t)cfg->n_embd;
    memcpy(out, p->last_x + row * n, n * sizeof *out);
    if (p->last_post_norm) {
        const float *delta = p->delta + row * n;
        float scale = norm_scale(cfg, delta);
        for (size_t i = 0; i < n; i++) out[i] += delta[i] * scale * p->last_post_norm[i];
    }
    float scale = norm_scale(cfg, out);
    for (size_t i = 0; i < n; i++) out[i] *= scale * p->model->weights.out_norm[i];
}

size_t bk_transformer_cmds(const bk_config *c) {
    return 1 + BK_HEAD_CMDS + (size_t)c->n_layers * (c->features & BK_EXPERTS ? 8 : 5);
}

size_t bk_transformer_buffers(bk_pass *p, const bk_config *c, size_t n, bk_buffer *b) {
    size_t embd = (size_t)c->n_embd, count = 0;
    size_t slots = n * (size_t)c->n_experts_used, ff_expert = 2 * (size_t)c->n_ff_expert;
    bool post = (c->features & BK_POST_NORMS) != 0, experts = (c->features & BK_EXPERTS) != 0;
    b[count++] = BK_BUFFER(p->x, n, embd);
    b[count++] = BK_BUFFER(p->qkv, n, (size_t)bk_dim_size(c, BK_DIM_QKV));
    b[count++] = BK_BUFFER(p->attn, n, (size_t)bk_dim_size(c, BK_DIM_Q));
    b[count++] = BK_BUFFER(p->gate_up, experts ? 0 : n, 2 * (size_t)c->n_ff);
    b[count++] = BK_BUFFER(p->x2, post ? n : 0, embd);
    b[count++] = BK_BUFFER(p->delta, post ? n : 0, embd);
    b[count++] = BK_BUFFER(p->scores, experts ? n : 0, (size_t)c->n_experts);
    b[count++] = BK_BUFFER(p->expert_gate_up, slots, ff_expert);
    b[count++] = BK_BUFFER(p->expert_out, slots, embd);
    b[count++] = BK_BUFFER(p->routes.first, experts, (size_t)c->n_experts + 1);
    b[count++] = BK_BUFFER(p->routes.row, slots, 1);
    b[count++] = BK_BUFFER(p->routes.slot, slots, 1);
    b[count++] = BK_BUFFER(p->routes.weight, slots, 1);
    return count;
}
