/* Architecture `lstm`: the classic language model. Tokens are embedded, go through layers of long
 * short-term memory, and a linear decoder makes logits of the last layer's h, where the file has
 * output_proj of a projection of it (Hochreiter and Schmidhuber 1997; Zaremba et al. 2014, arXiv
 * 1409.2329; tied weights: Press and Wolf 2017). Gates i, f, g, o and two biases as torch.nn.LSTM.
 *
 * h and c of every position lie in the pages where others have keys and values, so sequences fork, roll
 * back and share prefixes like any; a window of two positions lets go of pages that are done with. */
#include <string.h>

#include "model/arch.h"

#define CONFIG(field) offsetof(bk_config, field)
#define LAYER(field) offsetof(bk_layer, field), true
#define MODEL(field) offsetof(bk_weights, field), false

static const bk_key keys[] = {
    {"block_count", CONFIG(n_layers), BK_KEY_INT, 1, 1024, true, 0},
    {"context_length", CONFIG(context_length), BK_KEY_INT, 1, 1 << 24, false, 1 << 20},
    {"embedding_length", CONFIG(n_embd), BK_KEY_INT, 1, 1 << 17, true, 0},
    {"hidden_length", CONFIG(n_hidden), BK_KEY_INT, 1, 1 << 17, true, 0},
    {"output_length", CONFIG(n_out), BK_KEY_INT, 0, 1 << 17, false, 0},
};

#define VECTOR BK_ROLE_VECTOR
#define MATRIX BK_ROLE_MATRIX
#define DIMS(k, rows) BK_DIM_##k, BK_DIM_##rows

static const bk_role roles[] = {
    {"token_embd.weight", MODEL(embed), false, MATRIX, DIMS(EMBD, VOCAB), 0, 0},
    {"output.weight", MODEL(head), true, MATRIX, DIMS(OUT, VOCAB), 0, 0},
    {"output.bias", MODEL(head_bias), true, VECTOR, DIMS(VOCAB, NONE), 0, 0},
    {"output_proj.weight", MODEL(project), true, MATRIX, DIMS(HIDDEN, OUT), 0, 0},
    {"blk.%d.lstm_ih.weight", LAYER(input), false, MATRIX, DIMS(INPUT, FOUR_HIDDEN), 0, 0},
    {"blk.%d.lstm_ih.bias", LAYER(input_bias), false, VECTOR, DIMS(FOUR_HIDDEN, NONE), 0, 0},
    {"blk.%d.lstm_hh.weight", LAYER(recurrent), false, BK_ROLE_GATES, DIMS(HIDDEN, HIDDEN), 0, 0},
    {"blk.%d.lstm_hh.bias", LAYER(recurrent_bias), false, VECTOR, DIMS(FOUR_HIDDEN, NONE), 0, 0},
};

static bk_status settle(const bk_gguf *g, bk_model *m, bk_error *err) {
    bk_config *c = &m->config;
    if (c->n_out == 0) c->n_out = c->n_hidden;
    if (!bk_gguf_find_tensor(g, "output_proj.weight") && c->n_out != c->n_hidden)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'lstm.output_length': %d found; without a tensor 'output_proj.weight' "
                       "hidden_length = %d wanted",
                       c->n_out, c->n_hidden);
    if (!bk_gguf_find_tensor(g, "output.weight") && c->n_out != c->n_embd)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'lstm.output_length': %d found; without a tensor 'output.weight' "
                       "embedding_length = %d wanted",
                       c->n_out, c->n_embd);
    m->n_groups = 1;
    m->group[0] = (bk_kv_group){.n_layers = c->n_layers, .window = 2};
    bk_status status = bk_make_layers(m, err);
    for (int i = 0; status == BK_OK && i < c->n_layers; i++) m->weights.layers[i].index = i;
    return status;
}

static size_t buffers(bk_pass *p, const bk_config *c, size_t n, bk_buffer *b) {
    size_t hidden = (size_t)c->n_hidden;
    b[0] = BK_BUFFER(p->x, n, (size_t)c->n_embd);
    b[1] = BK_BUFFER(p->gates, n, 4 * hidden);
    b[2] = BK_BUFFER(p->h, n, hidden);
    b[3] = BK_BUFFER(p->projected, p->model->weights.project ? n : 0, (size_t)c->n_out);
    return 4;
}

static bk_input rows_of(const float *x, size_t k) {
    return (bk_input){.kind = BK_INPUT_ROWS, .k = k, .x = x, .ld = k};
}

static void layer(bk_pass *p, const bk_layer *l, bk_input in) {
    size_t hidden = (size_t)p->model->config.n_hidden;
    bk_cmd *c = bk_pass_products(p, "LSTM, input", p->n_rows, in, false);
    bk_pass_product(c, l->input, p->gates, 4 * hidden);
    c->product.bias[0] = l->input_bias;
    c = bk_pass_add(p, BK_OP_LSTM, "LSTM, recurrent", p->n_rows);
    c->lstm.gates = p->gates;
    c->lstm.bias = l->recurrent_bias;
    memcpy(c->lstm.w, l->recurrent, sizeof c->lstm.w);
    c->lstm.out = p->h;
    c->lstm.n = hidden;
    c->lstm.row = p->rows;
    c->lstm.seqs = p->seqs;
    c->lstm.layer = l->index;
}

static void record(bk_pass *p) {
    const bk_config *cfg = &p->model->config;
    const bk_weights *w = &p->model->weights;
    size_t embd = (size_t)cfg->n_embd, hidden = (size_t)cfg->n_hidden, out = (size_t)cfg->n_out;
    bk_cmd *c = bk_pass_add(p, BK_OP_EMBED, "embedding", p->n_rows);
    c->embed.tokens = p->tokens;
    c->embed.table = w->embed;
    c->embed.scale = cfg->embed_scale;
    c->embed.x = p->x, c->embed.ldx = embd;
    for (int i = 0; i < cfg->n_layers; i++)
        layer(p, &w->layers[i], i ? rows_of(p->h, hidden) : rows_of(p->x, embd));
    p->last_x = w->project ? p->projected : p->h;
    if (w->project) {
        c = bk_pass_products(p, "projection", p->n_rows, rows_of(p->h, hidden), false);
        bk_pass_product(c, w->project, p->projected, out);
    }
    if (p->n_logits == 0) return;
    bk_input last = rows_of(p->last_x, out);
    last.index = p->logit_rows;
    bk_head_record(p, "decoder", last);
}

static size_t cmds(const bk_config *c) { return 2 + BK_HEAD_CMDS + 2 * (size_t)c->n_layers; }

static void hidden(const bk_pass *p, size_t row, float *out) {
    size_t n = (size_t)p->model->config.n_out;
    memcpy(out, p->last_x + row * n, n * sizeof *out);
}

const bk_family bk_lstm = {.keys = keys,
                           .n_keys = BK_ARRAY_LEN(keys),
                           .roles = roles,
                           .n_roles = BK_ARRAY_LEN(roles),
                           .settle = settle,
                           .buffers = buffers,
                           .record = record,
                           .cmds = cmds,
                           .hidden = hidden};

const bk_arch bk_arch_lstm = {.name = "lstm", .family = &bk_lstm};
