/* The loop's one step, and what all kinds share: options, weights, schedule, early stop, files. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "train/optim.h"
#include "train/options.h"
#include "train/task.h"

struct bk_train {
    bk_train_options o; /* as in force */
    bk_arena arena;     /* its texts */
    bk_nn *nn;
    bk_params params;
    bk_task *task;
    bk_cpu_level level;
    int step;         /* finished */
    double best_loss; /* 0: none */
    int worse;        /* scores in a row that were not better */
    /* Repair: losses of the first score, of so many tokens; 0: there was none. */
    double before, reference;
    uint64_t scored;
};

bool bk_train_progress(const bk_train_options *o, const char *what, double done, bk_error *err) {
    if (o->progress) o->progress(what, done, o->user);
    if (!o->cancel || !*o->cancel) return true;
    bk_fail(err, BK_ERR_CANCELLED, "cancelled while %s", what);
    return false;
}

/* ---- Checkpoints -------------------------------------------------------------------------------- */

#define KEY(name) "brisk.train." name

/* Doubles as their bits: going on must not depend on rounding. */
static void put_double(bk_gguf_builder *b, const char *key, double v) {
    int32_t words[2];
    memcpy(words, &v, sizeof v);
    bk_gguf_builder_i32s(b, key, words, 2);
}

static bk_status get_double(const bk_gguf *g, const char *key, double *out, bk_error *err) {
    int32_t *words = NULL;
    size_t n = 0;
    bk_status st = bk_gguf_i32_array(g, key, &words, &n, err);
    if (!st && n == 2) memcpy(out, words, sizeof *out);
    bk_free(words);
    if (st == BK_ERR_NOT_FOUND || (!st && n != 2))
        return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing or no pair of words", key);
    return st;
}

bk_status bk_train_save(bk_train *t, const char *path, bk_error *err) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf *g = NULL;
    t->task->ops->save(t->task, b);
    bk_gguf_builder_str(b, "general.architecture", BK_STR("brisk-checkpoint"));
    bk_train_options_put(&t->o, b);
    bk_gguf_builder_u32(b, KEY("step"), (uint32_t)t->step);
    bk_gguf_builder_u32(b, KEY("worse"), (uint32_t)t->worse);
    put_double(b, KEY("best_loss"), t->best_loss);
    put_double(b, KEY("before"), t->before);
    put_double(b, KEY("reference"), t->reference);
    put_double(b, KEY("scored"), (double)t->scored);
    bk_params_put(&t->params, t->params.w, "", NULL, b);
    bk_params_put(&t->params, t->params.m, "adam.m.", NULL, b);
    bk_params_put(&t->params, t->params.v, "adam.v.", NULL, b);
    if (t->params.best) bk_params_put(&t->params, t->params.best, "best.", NULL, b);
    bk_status st = bk_gguf_builder_finish(&b, &g, err);
    if (!st) st = bk_gguf_write(g, path, NULL, err);
    bk_gguf_destroy(&g);
    return st;
}

static bk_status keep_best(bk_train *t, bk_error *err) {
    bk_params *p = &t->params;
    if (!p->best) p->best = t->nn->ops->mem_create(t->nn, p->words);
    if (!p->best) return bk_fail(err, BK_ERR_NOMEM, "no memory for the best weights so far");
    t->nn->ops->copy(t->nn, (bk_vec){p->best, 0}, (bk_vec){p->w, 0}, p->words);
    return BK_OK;
}

static bk_status restore(bk_train *t, const bk_gguf *g, bk_error *err) {
    bk_params *p = &t->params;
    uint32_t step = 0, worse = 0;
    bk_status st = bk_params_get(p, p->w, "", g, err);
    if (!st) st = bk_params_get(p, p->m, "adam.m.", g, err);
    if (!st) st = bk_params_get(p, p->v, "adam.v.", g, err);
    if (!st) st = bk_gguf_u32(g, KEY("step"), 0, INT32_MAX, &step, err);
    if (!st) st = bk_gguf_u32(g, KEY("worse"), 0, INT32_MAX, &worse, err);
    if (st == BK_ERR_NOT_FOUND) return bk_fail(err, BK_ERR_FORMAT, "it lacks its step");
    double scored = 0;
    if (!st) st = get_double(g, KEY("best_loss"), &t->best_loss, err);
    if (!st) st = get_double(g, KEY("before"), &t->before, err);
    if (!st) st = get_double(g, KEY("reference"), &t->reference, err);
    if (!st) st = get_double(g, KEY("scored"), &scored, err);
    t->scored = scored > 0 && scored < 0x1p63 ? (uint64_t)scored : 0;
    char best[96];
    snprintf(best, sizeof best, "best.%s", p->list[0].name);
    if (!st && bk_gguf_find_tensor(g, best)) {
        st = keep_best(t, err);
        if (!st) st = bk_params_get(p, p->best, "best.", g, err);
    }
    if (!st) st = t->task->ops->restore(t->task, g, err);
    t->step = (int)step;
    t->worse = (int)worse;
    return st;
}

/* ---- Opening ------------------------------------------------------------------------------------ */

/* NULL: none. */
static bk_status type_of(const char *name, const bk_quant **out, bk_error *err) {
    *out = NULL;
    return name ? bk_quant_named(name, out, err) : BK_OK;
}

/* What holds vocabulary and sizes already. */
static bk_status open_old(bk_train *t, bk_gguf **g, bk_error *err) {
    const char *path = t->o.resume ? t->o.resume : t->o.from;
    if (!path) return BK_OK;
    bk_status st = bk_gguf_open(path, g, err);
    if (!st)
        st = t->o.resume ? bk_train_options_get(*g, &t->arena, &t->o, err)
                         : bk_train_options_from(*g, &t->o, err);
    if (st) bk_error_prefix(err, "%s", path);
    return st;
}

static bk_task_create *const makers[BK_TRAIN_KINDS] = {[BK_TRAIN_MLP] = bk_mlp_create,
                                                       [BK_TRAIN_LSTM] = bk_lm_create,
                                                       [BK_TRAIN_LLAMA] = bk_lm_create};

static bk_status make_task(bk_train *t, const bk_gguf *old, bk_error *err) {
    const bk_quant *quant;
    if (!makers[t->o.kind])
        return bk_fail(err, BK_ERR_UNSUPPORTED, "this build does not train kind %s",
                       bk_train_kind_name(t->o.kind));
    bk_status st = type_of(t->o.quant, &quant, err);
    if (!st) st = bk_cpu_level_choose(t->o.cpu_level, &t->level, err);
    int threads = t->o.threads ? t->o.threads : bk_cpu_default_threads();
    if (!st) st = bk_nn_cpu_create(t->level, threads, &t->nn, err);
    t->params.nn = t->nn;
    if (!st) st = makers[t->o.kind](&t->o, t->nn, &t->params, old, &t->task, err);
    t->params.freeze = t->o.tune == BK_TUNE_NORMS;
    if (!st) st = bk_params_create(&t->params, quant, err);
    return st;
}

static bk_status fill(bk_train *t, const bk_gguf *old, bk_error *err) {
    bk_params *p = &t->params;
    bk_status st;
    if (!old) {
        st = t->task->ops->init(t->task, err);
    } else {
        if (t->o.resume) {
            st = restore(t, old, err);
        } else {
            st = bk_params_check(p, old, err);
            if (!st) st = bk_params_get(p, p->w, "", old, err);
        }
        if (st) bk_error_prefix(err, "%s", t->o.resume ? t->o.resume : t->o.from);
    }
    if (!st && t->o.keep_zeros) st = bk_params_keep_zeros(p, err);
    if (!st) bk_params_round(p, true);
    return st ? st : t->nn->ops->finish(t->nn, err);
}

bk_status bk_train_open(const bk_train_options *o, bk_train **out, bk_error *err) {
    *out = NULL;
    bk_status st = bk_train_options_check(o, err);
    if (st) return st;
    bk_train *t = bk_alloc_zero(1, sizeof *t);
    if (!t) return bk_fail(err, BK_ERR_NOMEM, "no memory to train");
    bk_gguf *old = NULL;
    t->o = *o;
    st = open_old(t, &old, err);
    bk_train_options_complete(&t->o);
    if (!st) st = make_task(t, old, err);
    if (!st) st = fill(t, old, err);
    bk_gguf_destroy(&old);
    if (st) {
        bk_train_close(&t);
        return st;
    }
    *out = t;
    return BK_OK;
}

void bk_train_close(bk_train **pt) {
    bk_train *t = *pt;
    *pt = NULL;
    if (!t) return;
    if (t->task) t->task->ops->destroy(t->task);
    bk_params_free(&t->params);
    bk_nn_destroy(&t->nn);
    bk_arena_free(&t->arena);
    bk_free(t);
}

/* ---- Learning ----------------------------------------------------------------------------------- */

static bk_status gather(bk_train *t, double *loss, uint64_t *tokens, bk_error *err) {
    uint64_t n = (uint64_t)t->o.accumulate;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t count = 0;
        double part = 0;
        bk_status st = t->task->ops->batch(t->task, (uint64_t)t->step * n + i, 1 / (float)n, &part,
                                           &count, err);
        if (st) return st;
        sum += part;
        *tokens += count;
    }
    *loss = sum / (double)*tokens;
    if (isfinite(*loss)) return BK_OK;
    return bk_fail(err, BK_ERR_FORMAT,
                   "the loss of step %d is not a number: the learning rate %g is too high; go on "
                   "from the last checkpoint with a lower one",
                   t->step + 1, (double)t->o.lr);
}

/* Whether weights go forward rounded. */
static void rounding(bk_train *t, bool on) {
    if (t->params.quant && on != (t->params.read == t->params.rounded))
        bk_params_round(&t->params, on);
}

bk_status bk_train_step(bk_train *t, bk_train_report *report, bk_error *err) {
    if (t->step >= t->o.steps)
        return bk_fail(err, BK_ERR_LIMIT, "all %d steps are done", t->o.steps);
    uint64_t start = bk_now_ns();
    bk_train_report r = {.step = t->step + 1, .lr = bk_optim_lr(&t->o, t->step)};
    rounding(t, t->step >= (1 - (double)t->o.quant_share) * t->o.steps);
    bk_status st = gather(t, &r.loss, &r.tokens, err);
    if (st) {
        t->nn->ops->zero(t->nn, (bk_vec){t->params.grad, 0}, t->params.learned);
        return st;
    }
    st = bk_optim_step(&t->o, &t->params, t->step, &r.grad_norm, err);
    if (!st) st = t->nn->ops->finish(t->nn, err);
    if (st) return st;
    t->step++;
    r.seconds = (double)(bk_now_ns() - start) * 1e-9;
    *report = r;
    return BK_OK;
}

/* The first score of a model that is to be repaired: what is there, and what could be. */
static bk_status first_score(bk_train *t, uint64_t most, const bk_train_score *s, bk_error *err) {
    bk_train_score whole = {0};
    bk_status st = BK_OK;
    if (t->o.teacher && t->task->ops->reference) {
        st = t->task->ops->reference(t->task, most, &whole.loss, err);
    } else if (t->params.quant) {
        rounding(t, false);
        st = t->task->ops->validate(t->task, most, &whole, err);
        rounding(t, true);
    }
    if (st) return st;
    t->before = s->loss;
    t->reference = whole.loss;
    t->scored = s->tokens;
    return BK_OK;
}

static void put_recovered(const bk_train *t, bk_train_score *s) {
    if (t->scored != s->tokens) return;
    s->before = t->before;
    s->reference = t->reference;
    if (t->reference > 0 && t->before > t->reference)
        s->recovered = (t->before - s->loss) / (t->before - t->reference);
}

bk_status bk_train_validate(bk_train *t, uint64_t most, bk_train_score *score, bk_error *err) {
    bk_train_score s = {0};
    rounding(t, true);
    bk_status st = t->task->ops->validate(t->task, most, &s, err);
    if (!st && t->o.from && t->step == 0 && t->scored == 0) st = first_score(t, most, &s, err);
    if (st) return st;
    put_recovered(t, &s);
    s.best = t->best_loss == 0 || s.loss < t->best_loss;
    if (s.best) t->best_loss = s.loss;
    t->worse = s.best ? 0 : t->worse + 1;
    s.stop = t->o.patience > 0 && t->worse >= t->o.patience;
    if (s.best && t->o.patience > 0) st = keep_best(t, err);
    *score = s;
    return st;
}

bk_status bk_train_predict(bk_train *t, const float *x, size_t n, int *classes,
                           float *probabilities, bk_error *err) {
    if (!t->task->ops->predict)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "a model of kind %s tells no classes; write it, and run it as a model",
                       bk_train_kind_name(t->o.kind));
    return t->task->ops->predict(t->task, x, n, classes, probabilities, err);
}

const char *bk_train_class_name(const bk_train *t, int i) {
    return t->task->ops->class_name ? t->task->ops->class_name(t->task, i) : NULL;
}

/* ---- The model and what is known of it ---------------------------------------------------------- */

bk_status bk_train_write(bk_train *t, const char *path, const char *type, bk_error *err) {
    const bk_quant *q;
    bk_status st = type_of(type, &q, err);
    if (st) return st;
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf *g = NULL;
    t->task->ops->export(t->task, b);
    bk_gguf_builder_file_type(b, q ? q : bk_quant_find(BK_TYPE_F32));
    bk_params_put(&t->params, t->params.best ? t->params.best : t->params.w, "", q, b);
    st = bk_gguf_builder_finish(&b, &g, err);
    if (!st) st = bk_gguf_write(g, path, NULL, err);
    bk_gguf_destroy(&g);
    return st;
}

void bk_train_get_info(const bk_train *t, bk_train_info *info) {
    *info =
        (bk_train_info){.o = t->task->o,
                        .n_params = t->params.n_weights,
                        .n_quantised =
                            t->params.quant ? bk_params_fitting(&t->params, t->params.quant) : 0,
                        .step = t->step,
                        .memory = bk_params_bytes(&t->params),
                        .best_loss = t->best_loss,
                        .cpu_level = t->level,
                        .threads = t->nn->threads};
    t->task->ops->info(t->task, info);
}
