/* The simple network: linear layers with an activation between them, from the numbers of a table's line
 * to a score for each class. It is small enough for the tape. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/examples.h"
#include "train/tape.h"
#include "train/task.h"

enum {
    LAYERS_MOST = 64,
    CONFUSION_MOST = 256, /* classes of a printable table */
    EVAL_ROWS = 512       /* examples at a time where nothing is learned */
};

static const char *const act_names[] = {"relu", "tanh", "sigmoid", "gelu"};

typedef struct mlp {
    bk_task task;
    size_t layers;                /* hidden ones */
    size_t dims[LAYERS_MOST + 2]; /* inputs, widths of the hidden layers, classes */
    size_t inputs, classes;       /* the first and the last of them */
    bk_act act;
    char **names;         /* [classes] */
    float *mean, *factor; /* [inputs] */
    bk_examples data;     /* scaled; empty when the network only predicts */
    uint32_t *drawn;      /* [n_train]: order of the pass `pass` */
    uint64_t pass;
    bk_tape *tape;
    bk_mem *batch; /* inputs, then classes, of max(batch, EVAL_ROWS) examples */
    float *x;      /* the same on the way to the device, and back */
    int32_t *y;
    uint64_t *counts; /* [classes][classes], or NULL */
} mlp;

static mlp *mlp_of(bk_task *t) { return (mlp *)t; }
static const mlp *cmlp_of(const bk_task *t) { return (const mlp *)t; }

static void mlp_destroy(bk_task *task) {
    mlp *m = mlp_of(task);
    for (size_t i = 0; m->names && i < m->classes; i++) bk_free(m->names[i]);
    bk_free(m->names);
    bk_free(m->mean);
    bk_free(m->factor);
    bk_examples_free(&m->data);
    bk_free(m->drawn);
    bk_tape_destroy(&m->tape);
    if (m->batch) task->nn->ops->mem_destroy(task->nn, m->batch);
    bk_free(m->x);
    bk_free(m->y);
    bk_free(m->counts);
    bk_free(m);
}

/* ---- The network --------------------------------------------------------------------------------- */

/* Matrices come first, then biases. */
static void add_params(mlp *m) {
    bk_params *p = m->task.params;
    for (size_t l = 0; l < m->layers; l++)
        bk_params_matrix(p, false, m->dims[l + 1], m->dims[l], "blk.%zu.weight", l);
    bk_params_matrix(p, false, m->classes, m->dims[m->layers], "output.weight");
    for (size_t l = 0; l < m->layers; l++) bk_params_vector(p, m->dims[l + 1], "blk.%zu.bias", l);
    bk_params_vector(p, m->classes, "output.bias");
}

/* Deviations that keep the size of signals: He et al. 2015 for relu and gelu. The last layer begins near
 * no opinion. */
static bk_status mlp_init(bk_task *task, bk_error *err) {
    mlp *m = mlp_of(task);
    bk_params *p = task->params;
    bk_status st = BK_OK;
    bool halves = m->act == BK_ACT_RELU || m->act == BK_ACT_GELU;
    for (size_t l = 0; l <= m->layers && !st; l++) {
        double gain = l == m->layers ? 0.1 : halves ? sqrt(2) : 1;
        double size = gain / sqrt((double)p->list[l].cols);
        st = bk_params_init(p, l, BK_INIT_NORMAL, size, task->o.seed, err);
    }
    for (size_t i = m->layers + 1; i < 2 * (m->layers + 1) && !st; i++)
        st = bk_params_init(p, i, BK_INIT_CONSTANT, 0, 0, err);
    return st;
}

static int leaf(mlp *m, size_t i, bool learning) {
    bk_params *p = m->task.params;
    const bk_param *t = &p->list[i];
    if (!learning) return bk_tape_input(m->tape, bk_param_w(p, i), t->rows, t->cols);
    return bk_tape_param(m->tape, bk_param_w(p, i), bk_param_grad(p, i), t->rows, t->cols);
}

/* Scores of the n examples in batch. index: of the batch, for dropout. */
static int forward(mlp *m, size_t n, bool learning, uint64_t index) {
    float dropout = learning ? m->task.o.dropout : 0;
    int x = bk_tape_input(m->tape, (bk_vec){m->batch, 0}, n, m->inputs);
    for (size_t l = 0; l <= m->layers; l++) {
        int w = leaf(m, l, learning), b = leaf(m, m->layers + 1 + l, learning);
        x = bk_tape_linear(m->tape, x, w, b);
        if (l == m->layers) break;
        x = bk_tape_act(m->tape, m->act, x);
        /* Each use of the generator has 2^32 words of its own. */
        if (dropout > 0)
            x = bk_tape_dropout(m->tape, x, dropout, m->task.o.seed, (index * m->layers + l) << 32);
    }
    return x;
}

static bk_vec classes_of_batch(const mlp *m) {
    size_t rows = bk_max_size((size_t)m->task.o.batch, EVAL_ROWS);
    return (bk_vec){m->batch, rows * m->inputs};
}

/* Brings n examples to the device. */
static void load(mlp *m, const uint32_t *rows, size_t n) {
    const bk_csv *c = &m->data.table;
    for (size_t i = 0; i < n; i++) {
        memcpy(m->x + i * m->inputs, c->x + rows[i] * m->inputs, m->inputs * sizeof *m->x);
        m->y[i] = c->y[rows[i]];
    }
    m->task.nn->ops->write(m->task.nn, (bk_vec){m->batch, 0}, m->x, n * m->inputs);
    m->task.nn->ops->write(m->task.nn, classes_of_batch(m), m->y, n);
}

/* ---- Learning ------------------------------------------------------------------------------------ */

/* Every pass takes all examples in a new order; its last batch may be smaller. */
static bk_status mlp_batch(bk_task *task, uint64_t index, float share, double *loss, uint64_t *n,
                           bk_error *err) {
    mlp *m = mlp_of(task);
    size_t most = (size_t)task->o.batch, total = m->data.n_train;
    if (total == 0) return bk_fail(err, BK_ERR_INVALID, "no data to learn from was given");
    uint64_t batches = bk_div_up(total, most), pass = index / batches;
    if (pass != m->pass) {
        memcpy(m->drawn, m->data.order, total * sizeof *m->drawn);
        bk_examples_shuffle(m->drawn, total, task->o.seed, pass);
        m->pass = pass;
    }
    size_t begin = (size_t)(index % batches) * most, rows = bk_min_size(most, total - begin);
    load(m, m->drawn + begin, rows);
    bk_tape_reset(m->tape);
    int y = forward(m, rows, true, index);
    float scale = share / (float)rows;
    bk_tape_cross_entropy(m->tape, y, classes_of_batch(m), scale);
    bk_status st = bk_tape_backward(m->tape, err);
    *n = rows;
    if (!st) *loss = bk_tape_loss(m->tape) / (double)scale;
    return st;
}

static size_t best_class(const float *scores, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (scores[i] > scores[best]) best = i;
    return best;
}

/* The scores of the n examples in batch, [n][classes], in m->x; the sum of their losses when *loss is
 * wanted. */
static bk_status evaluate(mlp *m, size_t n, double *loss, bk_error *err) {
    bk_tape_reset(m->tape);
    int y = forward(m, n, false, 0);
    if (loss) bk_tape_cross_entropy(m->tape, y, classes_of_batch(m), 1);
    bk_status st = bk_tape_backward(m->tape, err);
    if (st) return st;
    if (loss) *loss = bk_tape_loss(m->tape);
    m->task.nn->ops->read(m->task.nn, bk_tape_value(m->tape, y), m->x, n * m->classes);
    return BK_OK;
}

static bk_status mlp_validate(bk_task *task, uint64_t most, bk_train_score *score, bk_error *err) {
    mlp *m = mlp_of(task);
    size_t total = m->data.n_valid, right = 0;
    if (total == 0) return bk_fail(err, BK_ERR_LIMIT, "no example is held out");
    if (most && most < total) total = (size_t)most;
    if (m->counts) memset(m->counts, 0, m->classes * m->classes * sizeof *m->counts);
    double sum = 0;
    for (size_t at = 0; at < total; at += EVAL_ROWS) {
        const uint32_t *rows = m->data.order + m->data.n_train + at;
        size_t n = bk_min_size(EVAL_ROWS, total - at);
        double loss;
        load(m, rows, n);
        bk_status st = evaluate(m, n, &loss, err);
        if (st) return st;
        sum += loss;
        for (size_t i = 0; i < n; i++) {
            size_t truth = (size_t)m->y[i], given = best_class(m->x + i * m->classes, m->classes);
            right += truth == given;
            if (m->counts) m->counts[truth * m->classes + given]++;
        }
        if (!bk_train_progress(&task->o, "validation", (double)(at + n) / (double)total, err))
            return BK_ERR_CANCELLED;
    }
    score->tokens = total;
    score->loss = sum / (double)total;
    score->accuracy = (double)right / (double)total;
    score->classes = m->counts ? (int)m->classes : 0;
    score->confusion = m->counts;
    return BK_OK;
}

static void softmax(const float *scores, size_t n, float *out) {
    double sum = 0, most = scores[best_class(scores, n)];
    for (size_t i = 0; i < n; i++) sum += exp(scores[i] - most);
    for (size_t i = 0; i < n; i++) out[i] = (float)(exp(scores[i] - most) / sum);
}

static bk_status mlp_predict(bk_task *task, const float *x, size_t n, int *classes,
                             float *probabilities, bk_error *err) {
    mlp *m = mlp_of(task);
    for (size_t at = 0; at < n; at += EVAL_ROWS) {
        size_t rows = bk_min_size(EVAL_ROWS, n - at);
        memcpy(m->x, x + at * m->inputs, rows * m->inputs * sizeof *x);
        bk_examples_scale(m->x, rows, m->inputs, m->mean, m->factor);
        task->nn->ops->write(task->nn, (bk_vec){m->batch, 0}, m->x, rows * m->inputs);
        bk_status st = evaluate(m, rows, NULL, err);
        if (st) return st;
        for (size_t i = 0; i < rows; i++) {
            const float *scores = m->x + i * m->classes;
            classes[at + i] = (int)best_class(scores, m->classes);
            if (probabilities) softmax(scores, m->classes, probabilities + (at + i) * m->classes);
        }
    }
    return BK_OK;
}

static const char *mlp_class_name(const bk_task *task, int i) {
    const mlp *m = cmlp_of(task);
    return i >= 0 && (size_t)i < m->classes ? m->names[i] : NULL;
}

/* ---- Files --------------------------------------------------------------------------------------- */

static void mlp_export(bk_task *task, bk_gguf_builder *b) {
    const mlp *m = mlp_of(task);
    bk_str *names = bk_gguf_builder_alloc(b, m->classes, sizeof *names);
    if (!names) return;
    int32_t widths[LAYERS_MOST];
    for (size_t i = 0; i < m->classes; i++) names[i] = bk_str_from(m->names[i]);
    for (size_t l = 0; l < m->layers; l++) widths[l] = (int32_t)m->dims[l + 1];
    bk_gguf_builder_str(b, "general.architecture", BK_STR("mlp"));
    bk_gguf_builder_u32(b, "mlp.input_length", (uint32_t)m->inputs);
    bk_gguf_builder_i32s(b, "mlp.hidden_lengths", widths, m->layers);
    bk_gguf_builder_str(b, "mlp.activation", bk_str_from(act_names[m->act]));
    bk_gguf_builder_strs(b, "mlp.classes", names, m->classes);
    bk_gguf_builder_f32s(b, "mlp.scaling.mean", m->mean, m->inputs);
    bk_gguf_builder_f32s(b, "mlp.scaling.factor", m->factor, m->inputs);
}

/* A checkpoint is a model, and knows its data. */
static void hash_text(const mlp *m, char out[17]) {
    snprintf(out, 17, "%016llx", (unsigned long long)m->data.hash);
}

static void mlp_save(bk_task *task, bk_gguf_builder *b) {
    char hash[17];
    hash_text(mlp_of(task), hash);
    mlp_export(task, b);
    bk_gguf_builder_str(b, "train.data", bk_str_from(hash));
}

static bk_status mlp_restore(bk_task *task, const bk_gguf *g, bk_error *err) {
    char hash[17];
    bk_str saved = {NULL, 0};
    hash_text(mlp_of(task), hash);
    bk_status st = bk_gguf_str(g, "train.data", &saved, err);
    if (!st && bk_str_eq(saved, bk_str_from(hash))) return BK_OK;
    if (st && st != BK_ERR_NOT_FOUND) return st;
    return bk_fail(err, BK_ERR_FORMAT,
                   "the table is not the one that the checkpoint was trained with; go on with the "
                   "same one");
}

static void mlp_info(const bk_task *task, bk_train_info *info) {
    const mlp *m = cmlp_of(task);
    info->n_vocab = (int)m->classes;
    info->inputs = (int)m->inputs;
    info->train_tokens = m->data.n_train;
    info->valid_tokens = m->data.n_valid;
}

static const struct bk_task_ops mlp_ops = {.destroy = mlp_destroy,
                                           .init = mlp_init,
                                           .batch = mlp_batch,
                                           .validate = mlp_validate,
                                           .predict = mlp_predict,
                                           .class_name = mlp_class_name,
                                           .save = mlp_save,
                                           .restore = mlp_restore,
                                           .export = mlp_export,
                                           .info = mlp_info};

/* ---- Making one ---------------------------------------------------------------------------------- */

static bk_status find_act(bk_str name, bk_act *out, bk_error *err) {
    for (size_t i = 0; i < BK_ARRAY_LEN(act_names); i++) {
        if (!bk_str_eq(name, bk_str_from(act_names[i]))) continue;
        *out = (bk_act)i;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_INVALID,
                   "activation '" BK_STR_FMT "' found; relu, tanh, sigmoid or gelu wanted",
                   BK_STR_ARG(name));
}

static bk_status take_names(mlp *m, const bk_str *names, size_t n, bk_error *err) {
    m->names = bk_alloc_zero(n, sizeof *m->names);
    m->classes = n;
    bool good = m->names != NULL;
    for (size_t i = 0; i < n && good; i++) {
        m->names[i] = bk_strndup(names[i].data ? names[i].data : "", names[i].len);
        good = m->names[i] != NULL;
    }
    return good ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for %zu classes", n);
}

/* A key that must be there. */
static bk_status wanted(const char *key, bk_status st, bk_error *err) {
    return st == BK_ERR_NOT_FOUND ? bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing", key) : st;
}

static bk_status read_widths(mlp *m, const bk_gguf *g, bk_error *err) {
    const char *key = "mlp.hidden_lengths";
    int32_t *v = NULL;
    size_t n = 0;
    bk_status st = wanted(key, bk_gguf_i32_array(g, key, &v, &n, err), err);
    if (!st && (n < 1 || n > LAYERS_MOST))
        st = bk_fail(err, BK_ERR_FORMAT, "key '%s' has %zu values, 1 to %d are wanted", key, n,
                     LAYERS_MOST);
    for (size_t i = 0; i < n && !st; i++) {
        st = bk_check_range(key, v[i], 1, BK_CSV_COLUMNS, err);
        m->dims[i + 1] = (size_t)v[i];
    }
    m->layers = n;
    bk_free(v);
    return st;
}

static bk_status read_scaling(const bk_gguf *g, const char *key, size_t n, float **out,
                              bk_error *err) {
    size_t found = 0;
    bk_status st = wanted(key, bk_gguf_f32_array(g, key, out, &found, err), err);
    if (!st && found != n)
        st = bk_fail(err, BK_ERR_FORMAT, "key '%s' has %zu values, %zu are wanted", key, found, n);
    for (size_t i = 0; i < n && !st; i++)
        if (!isfinite((*out)[i])) st = bk_fail(err, BK_ERR_FORMAT, "key '%s': no number", key);
    return st;
}

/* Shape, classes and scaling of a model or checkpoint. */
static bk_status read_model(mlp *m, const bk_gguf *g, bk_error *err) {
    bk_str act = {NULL, 0}, *names = NULL;
    uint32_t inputs = 0;
    size_t n = 0;
    bk_status st = wanted("mlp.activation", bk_gguf_str(g, "mlp.activation", &act, err), err);
    if (!st) st = find_act(act, &m->act, err);
    if (!st)
        st = wanted("mlp.input_length",
                    bk_gguf_u32(g, "mlp.input_length", 1, BK_CSV_COLUMNS, &inputs, err), err);
    m->inputs = inputs;
    if (!st) st = read_widths(m, g, err);
    if (!st) st = wanted("mlp.classes", bk_gguf_str_array(g, "mlp.classes", &names, &n, err), err);
    if (!st && (n < 2 || n > BK_CSV_CLASSES))
        st = bk_fail(err, BK_ERR_FORMAT, "key 'mlp.classes' has %zu values, 2 to %d are wanted", n,
                     BK_CSV_CLASSES);
    if (!st) st = take_names(m, names, n, err);
    bk_free(names);
    if (!st) st = read_scaling(g, "mlp.scaling.mean", m->inputs, &m->mean, err);
    if (!st) st = read_scaling(g, "mlp.scaling.factor", m->inputs, &m->factor, err);
    return st;
}

/* "64,32" */
static bk_status parse_widths(mlp *m, const char *text, bk_error *err) {
    const char *at = text;
    for (m->layers = 0; m->layers < LAYERS_MOST; at++) {
        size_t digits = strspn(at, "0123456789");
        unsigned long width = digits && digits < 8 ? strtoul(at, NULL, 10) : 0;
        at += digits;
        if (width < 1 || width > BK_CSV_COLUMNS) break;
        m->dims[++m->layers] = width;
        if (*at == '\0') return BK_OK;
        if (*at != ',') break;
    }
    return bk_fail(err, BK_ERR_INVALID,
                   "widths '%.60s' found; 1 to %d numbers of 1..%d wanted, as in 64,32", text,
                   LAYERS_MOST, BK_CSV_COLUMNS);
}

static bk_status plan_widths(mlp *m, const bk_train_options *o, bk_error *err) {
    if (o->widths) return parse_widths(m, o->widths, err);
    bk_status st = bk_check_range("layers", o->layers, 1, LAYERS_MOST, err);
    if (!st) st = bk_check_range("hidden", o->hidden, 1, BK_CSV_COLUMNS, err);
    if (st) return st;
    m->layers = (size_t)o->layers;
    for (size_t l = 0; l < m->layers; l++) m->dims[l + 1] = (size_t)o->hidden;
    return BK_OK;
}

/* The same from the table and the options. */
static bk_status plan_model(mlp *m, const bk_train_options *o, bk_error *err) {
    const bk_csv *c = &m->data.table;
    bk_status st = plan_widths(m, o, err);
    if (!st) st = find_act(bk_str_from(o->activation ? o->activation : "relu"), &m->act, err);
    if (st) return st;
    m->inputs = c->cols;
    bk_str *names = bk_alloc(c->n_classes, sizeof *names);
    m->mean = bk_alloc(m->inputs, sizeof *m->mean);
    m->factor = bk_alloc(m->inputs, sizeof *m->factor);
    if (names && m->mean && m->factor) {
        for (size_t i = 0; i < c->n_classes; i++) names[i] = bk_str_from(c->classes[i]);
        st = take_names(m, names, c->n_classes, err);
        bk_examples_measure(&m->data, m->mean, m->factor);
    } else {
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu columns", c->cols);
    }
    bk_free(names);
    return st;
}

/* Classes as the old model has them. */
static bk_status match_data(mlp *m, const char *path, bk_error *err) {
    if (m->data.table.cols != m->inputs)
        return bk_fail(err, BK_ERR_FORMAT, "%s: %zu columns of numbers found, the model has %zu",
                       path, m->data.table.cols, m->inputs);
    bk_str *names = bk_alloc(m->classes, sizeof *names);
    if (!names) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu classes", m->classes);
    for (size_t i = 0; i < m->classes; i++) names[i] = bk_str_from(m->names[i]);
    bk_status st = bk_examples_rename(&m->data, names, m->classes, err);
    bk_free(names);
    return st;
}

static bk_status make_room(mlp *m, bk_error *err) {
    bk_nn *nn = m->task.nn;
    size_t rows = bk_max_size((size_t)m->task.o.batch, EVAL_ROWS), words;
    size_t wide = bk_max_size(m->inputs + 1, m->classes);
    if (!bk_mul_size(rows, wide, &words))
        return bk_fail(err, BK_ERR_NOMEM, "the batch is too large");
    m->tape = bk_tape_create(nn);
    m->batch = nn->ops->mem_create(nn, words);
    m->x = bk_alloc(words, sizeof *m->x);
    m->y = bk_alloc(rows, sizeof *m->y);
    m->drawn = bk_alloc(bk_max_size(m->data.n_train, 1), sizeof *m->drawn);
    m->pass = UINT64_MAX;
    bool good = m->tape && m->batch && m->x && m->y && m->drawn;
    if (good && m->classes <= CONFUSION_MOST) {
        m->counts = bk_alloc_zero(m->classes * m->classes, sizeof *m->counts);
        good = m->counts != NULL;
    }
    return good ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for batches of %zu examples", rows);
}

static bk_status build(mlp *m, const bk_train_options *o, const bk_gguf *old, bk_error *err) {
    bk_status st = BK_OK;
    if (!o->data && !old) return bk_fail(err, BK_ERR_INVALID, "no table to learn from was given");
    if (o->data) st = bk_examples_open(o->data, o->valid_share, o->seed, &m->data, err);
    if (!st) st = old ? read_model(m, old, err) : plan_model(m, o, err);
    if (!st && old && o->data) st = match_data(m, o->data, err);
    if (!st) st = make_room(m, err);
    if (st) return st;
    bk_examples_scale(m->data.table.x, m->data.table.rows, m->inputs, m->mean, m->factor);
    m->dims[0] = m->inputs;
    m->dims[m->layers + 1] = m->classes;
    m->task.o.layers = (int)m->layers;
    m->task.o.hidden = (int)m->dims[1];
    add_params(m);
    return BK_OK;
}

bk_status bk_mlp_create(const bk_train_options *o, bk_nn *nn, bk_params *params, const bk_gguf *old,
                        bk_task **out, bk_error *err) {
    mlp *m = bk_alloc_zero(1, sizeof *m);
    if (!m) return bk_fail(err, BK_ERR_NOMEM, "no memory for a network");
    m->task = (bk_task){.ops = &mlp_ops, .o = *o, .nn = nn, .params = params};
    bk_status st = build(m, o, old, err);
    if (st) {
        mlp_destroy(&m->task);
        return st;
    }
    *out = &m->task;
    return BK_OK;
}
