/* The LSTM language model: embedding, layers, an optional projection, decoder. Hochreiter and
 * Schmidhuber 1997; gates and biases as torch.nn.LSTM has them; dropout between all parts (Zaremba et
 * al. 2014, arXiv 1409.2329); tied weights: Press and Wolf 2017. State goes from batch to batch,
 * gradients do not (truncated back-propagation through time). */
#include <math.h>

#include "base/mem.h"
#include "train/lm.h"

typedef struct layer {
    size_t w_ih, w_hh, b_ih, b_hh; /* parameters */
    size_t in;
    bk_vec gates; /* [T][B][4H] */
    bk_vec h, c;  /* [T + 1][B][H] */
    bk_vec y;     /* [T][B][H] after dropout, or h from its first step on */
} layer;

typedef struct lstm {
    bk_lm lm;
    size_t E, H, O, L;
    bool project, tied, with_bias;
    size_t embed, proj, out, out_bias; /* parameters */
    layer *layers;
    bk_vec x0, dx;  /* [R][E], [R][max(E, H)] */
    bk_vec po, dpo; /* [R][O]: the decoder's input and its gradient; po may be the last y */
    bk_vec bias;    /* [4H] both biases together, and the gradient of either */
    bk_mem *scratch;
} lstm;

static lstm *lstm_of(bk_lm *m) { return (lstm *)m; }

/* Of layer l in the memory that is carried. */
static bk_vec state_of(const lstm *s, size_t l, int which) {
    return (bk_vec){s->lm.carried, (2 * l + (size_t)which) * s->lm.B * s->H};
}

/* ---- Forward ------------------------------------------------------------------------------------ */

static bk_nn_lstm recurrence(const lstm *s, const layer *y) {
    return (bk_nn_lstm){.T = s->lm.T,
                        .B = s->lm.B,
                        .H = s->H,
                        .w_hh = bk_param_w(s->lm.task.params, y->w_hh),
                        .gates = y->gates,
                        .h = y->h,
                        .c = y->c};
}

static void layer_forward(lstm *s, size_t l, bk_vec x) {
    bk_nn *nn = s->lm.task.nn;
    const bk_params *p = s->lm.task.params;
    layer *y = &s->layers[l];
    size_t BH = s->lm.B * s->H;
    nn->ops->copy(nn, s->bias, bk_param_w(p, y->b_ih), 4 * s->H);
    nn->ops->add(nn, s->bias, bk_param_w(p, y->b_hh), 4 * s->H);
    bk_linear in = bk_lm_linear(&s->lm, y->w_ih, 4 * s->H, y->in);
    bk_linear_forward(nn, &in, x, s->bias, y->gates, false);
    nn->ops->copy(nn, y->h, state_of(s, l, 0), BH);
    nn->ops->copy(nn, y->c, state_of(s, l, 1), BH);
    bk_nn_lstm op = recurrence(s, y);
    nn->ops->lstm(nn, &op);
    nn->ops->copy(nn, state_of(s, l, 0), bk_vec_at(y->h, s->lm.T * BH), BH);
    nn->ops->copy(nn, state_of(s, l, 1), bk_vec_at(y->c, s->lm.T * BH), BH);
    bk_vec top = bk_vec_at(y->h, BH);
    if (y->y.mem == y->h.mem && y->y.at == top.at) return;
    nn->ops->copy(nn, y->y, top, s->lm.R * s->H);
    bk_lm_dropout(&s->lm, y->y, s->lm.R * s->H, (unsigned)l + 1);
}

static void forward(bk_lm *m) {
    lstm *s = lstm_of(m);
    bk_nn *nn = m->task.nn;
    const bk_params *p = m->task.params;
    nn->ops->embed(nn, m->ids, m->R, bk_param_w(p, s->embed), s->E, s->x0);
    bk_lm_dropout(m, s->x0, m->R * s->E, 0);
    for (size_t l = 0; l < s->L; l++) layer_forward(s, l, l ? s->layers[l - 1].y : s->x0);
    bk_vec none = {0};
    if (s->project) {
        bk_linear proj = bk_lm_linear(m, s->proj, s->O, s->H);
        bk_linear_forward(nn, &proj, s->layers[s->L - 1].y, none, s->po, false);
    }
    bk_linear out = bk_lm_linear(m, s->out, m->V, s->O);
    bk_linear_forward(nn, &out, s->po, s->with_bias ? bk_param_w(p, s->out_bias) : none, m->logits,
                      false);
}

/* ---- Backward ----------------------------------------------------------------------------------- */

/* s->dx: from the gradient of the layer's output to that of its input x. */
static void layer_backward(lstm *s, size_t l, bk_vec x) {
    bk_nn *nn = s->lm.task.nn;
    const bk_params *p = s->lm.task.params;
    layer *y = &s->layers[l];
    size_t R = s->lm.R, H = s->H;
    bk_lm_dropout(&s->lm, s->dx, R * H, (unsigned)l + 1);
    bk_nn_lstm op = recurrence(s, y);
    op.dh = s->dx;
    nn->ops->lstm_bwd(nn, &op);
    bk_linear in = bk_lm_linear(&s->lm, y->w_ih, 4 * H, y->in);
    bk_linear back = bk_lm_linear(&s->lm, y->w_hh, 4 * H, H);
    bk_linear_backward(nn, &back, y->h, y->gates, (bk_vec){0}, false);
    bk_linear_backward(nn, &in, x, y->gates, s->dx, false);
    nn->ops->zero(nn, s->bias, 4 * H);
    nn->ops->col_sum(nn, y->gates, R, 4 * H, 4 * H, s->bias);
    nn->ops->add(nn, bk_param_grad(p, y->b_ih), s->bias, 4 * H);
    nn->ops->add(nn, bk_param_grad(p, y->b_hh), s->bias, 4 * H);
}

static void backward(bk_lm *m) {
    lstm *s = lstm_of(m);
    bk_nn *nn = m->task.nn;
    const bk_params *p = m->task.params;
    bk_linear out = bk_lm_linear(m, s->out, m->V, s->O);
    bk_linear_backward(nn, &out, s->po, m->logits, s->project ? s->dpo : s->dx, false);
    if (s->with_bias)
        nn->ops->col_sum(nn, m->logits, m->R, m->V, m->V, bk_param_grad(p, s->out_bias));
    if (s->project) {
        bk_linear proj = bk_lm_linear(m, s->proj, s->O, s->H);
        bk_linear_backward(nn, &proj, s->layers[s->L - 1].y, s->dpo, s->dx, false);
    }
    for (size_t l = s->L; l-- > 0;) layer_backward(s, l, l ? s->layers[l - 1].y : s->x0);
    bk_lm_dropout(m, s->dx, m->R * s->E, 0);
    bk_vec grad = bk_param_grad(p, s->embed);
    if (grad.mem) nn->ops->embed_bwd(nn, m->ids, m->R, s->dx, s->E, grad);
}

/* ---- Weights ------------------------------------------------------------------------------------ */

static void add_params(lstm *s, bk_params *p) {
    size_t H = s->H, V = s->lm.V;
    s->embed = bk_params_matrix(p, false, V, s->E, "token_embd.weight");
    for (size_t l = 0; l < s->L; l++) {
        layer *y = &s->layers[l];
        y->in = l ? H : s->E;
        y->w_ih = bk_params_matrix(p, false, 4 * H, y->in, "blk.%zu.lstm_ih.weight", l);
        y->w_hh = bk_params_matrix(p, false, 4 * H, H, "blk.%zu.lstm_hh.weight", l);
    }
    if (s->project) s->proj = bk_params_matrix(p, false, s->O, H, "output_proj.weight");
    s->out = s->tied ? s->embed : bk_params_matrix(p, false, V, s->O, "output.weight");
    for (size_t l = 0; l < s->L; l++) {
        s->layers[l].b_ih = bk_params_vector(p, 4 * H, "blk.%zu.lstm_ih.bias", l);
        s->layers[l].b_hh = bk_params_vector(p, 4 * H, "blk.%zu.lstm_hh.bias", l);
    }
    if (s->with_bias) s->out_bias = bk_params_vector(p, V, "output.bias");
}

/* Recurrent weights and biases as torch.nn.LSTM; a forget bias of 1: Jozefowicz et al. 2015. */
static bk_status init(bk_lm *m, bk_error *err) {
    lstm *s = lstm_of(m);
    bk_params *p = m->task.params;
    uint64_t seed = m->task.o.seed;
    double h = 1 / sqrt((double)s->H), o = 1 / sqrt((double)s->O);
    bk_status st = s->tied ? bk_params_init(p, s->embed, BK_INIT_UNIFORM, o, seed, err)
                           : bk_params_init(p, s->embed, BK_INIT_NORMAL, 1, seed, err);
    for (size_t l = 0; !st && l < s->L; l++) {
        const layer *y = &s->layers[l];
        const size_t all[] = {y->w_ih, y->w_hh, y->b_ih, y->b_hh};
        for (size_t i = 0; !st && i < BK_ARRAY_LEN(all); i++)
            st = bk_params_init(p, all[i], BK_INIT_UNIFORM, h, seed, err);
        if (st || !m->task.o.forget_bias) continue;
        float *one = bk_alloc(s->H, sizeof *one);
        if (!one) return bk_fail(err, BK_ERR_NOMEM, "no memory for biases");
        for (size_t i = 0; i < s->H; i++) one[i] = 1;
        bk_vec at = {p->w, p->list[y->b_ih].at + s->H};
        m->task.nn->ops->write(m->task.nn, at, one, s->H);
        bk_free(one);
    }
    if (!st && s->project) st = bk_params_init(p, s->proj, BK_INIT_UNIFORM, h, seed, err);
    if (!st && !s->tied) st = bk_params_init(p, s->out, BK_INIT_UNIFORM, o, seed, err);
    return st;
}

static void keys(const bk_lm *m, bk_gguf_builder *b) {
    const lstm *s = (const lstm *)m;
    bk_gguf_builder_str(b, "general.architecture", BK_STR("lstm"));
    bk_gguf_builder_u32(b, "lstm.context_length", 1048576);
    bk_gguf_builder_u32(b, "lstm.block_count", (uint32_t)s->L);
    bk_gguf_builder_u32(b, "lstm.embedding_length", (uint32_t)s->E);
    bk_gguf_builder_u32(b, "lstm.hidden_length", (uint32_t)s->H);
    bk_gguf_builder_u32(b, "lstm.output_length", (uint32_t)s->O);
    bk_gguf_builder_u32(b, "lstm.vocab_size", (uint32_t)m->V);
}

/* ---- Making one --------------------------------------------------------------------------------- */

static void destroy(bk_lm *m) {
    lstm *s = lstm_of(m);
    if (s->scratch) m->task.nn->ops->mem_destroy(m->task.nn, s->scratch);
    bk_free(s->layers);
    bk_free(s);
}

/* One memory for all activations; called twice, to count and to place. */
static size_t place(lstm *s) {
    size_t R = s->lm.R, H = s->H, at = 0, steps = R + s->lm.B;
    bk_mem *mem = s->scratch;
    s->x0 = bk_take(mem, &at, R * s->E);
    s->dx = bk_take(mem, &at, R * bk_max_size(s->E, H));
    s->bias = bk_take(mem, &at, 4 * H);
    for (size_t l = 0; l < s->L; l++) {
        layer *y = &s->layers[l];
        y->gates = bk_take(mem, &at, R * 4 * H);
        y->h = bk_take(mem, &at, steps * H);
        y->c = bk_take(mem, &at, steps * H);
        y->y = s->lm.task.o.dropout > 0 ? bk_take(mem, &at, R * H) : bk_vec_at(y->h, s->lm.B * H);
    }
    s->po = s->layers[s->L - 1].y;
    if (s->project) {
        s->po = bk_take(mem, &at, R * s->O);
        s->dpo = bk_take(mem, &at, R * s->O);
    }
    return at;
}

static const struct bk_lm_ops ops = {.carries = true,
                                     .destroy = destroy,
                                     .init = init,
                                     .forward = forward,
                                     .backward = backward,
                                     .keys = keys};

bk_status bk_lstm_create(const bk_train_options *o, bk_nn *nn, bk_params *params, size_t n_vocab,
                         bk_lm **out, bk_error *err) {
    if (o->tied && o->output != o->embedding)
        return bk_fail(err, BK_ERR_INVALID,
                       "tied weights want the output as wide as the embedding: output %d found, "
                       "embedding %d",
                       o->output, o->embedding);
    lstm *s = bk_alloc_zero(1, sizeof *s);
    layer *layers = bk_alloc_zero((size_t)o->layers, sizeof *layers);
    if (!s || !layers) {
        bk_free(s);
        bk_free(layers);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a model of %d layers", o->layers);
    }
    bk_lm *m = &s->lm;
    *s = (lstm){.E = (size_t)o->embedding,
                .H = (size_t)o->hidden,
                .O = (size_t)o->output,
                .L = (size_t)o->layers,
                .project = o->projection,
                .with_bias = o->decoder_bias,
                .tied = o->tied,
                .layers = layers};
    m->task = (bk_task){.o = *o, .nn = nn, .params = params};
    m->ops = &ops;
    m->B = (size_t)o->batch;
    m->T = (size_t)o->sequence;
    m->R = m->B * m->T;
    m->V = n_vocab;
    m->n_state = 2 * s->L * m->B * s->H;
    add_params(s, params);
    size_t words = place(s);
    bool good = true;
    bk_status st = bk_lm_check_memory(m, words, err);
    if (!st) s->scratch = bk_lm_alloc(m, words, &good).mem;
    if (!st && !good)
        st =
            bk_fail(err, BK_ERR_NOMEM, "no memory for the activations of %d sequences of %d tokens",
                    o->batch, o->sequence);
    if (st) {
        destroy(m);
        return st;
    }
    place(s);
    *out = m;
    return BK_OK;
}
