#include "brisk_train.h"

#include <math.h>

#include "api/api.h"
#include "train/train.h"

_Static_assert((int)BRISK_TRAIN_LLAMA == (int)BK_TRAIN_LLAMA, "kinds agree");
_Static_assert((int)BRISK_TUNE_NORMS == (int)BK_TUNE_NORMS, "tunings agree");

static bk_train *train_of(brisk_train *t) { return (bk_train *)t; }
static const bk_train *ctrain_of(const brisk_train *t) { return (const bk_train *)t; }

/* The fields that both structs have under one name. */
/* clang-format off */
#define FIELDS(F)                                                                                \
    F(data) F(resume) F(from) F(valid_share) F(vocab_size) F(normalize) F(casefold)              \
    F(stop_words) F(floor_order) F(embedding) F(hidden) F(output) F(layers) F(heads) F(kv_heads) \
    F(ffn) F(sequence) F(batch) F(accumulate) F(dropout) F(tied) F(forget_bias) F(widths)        \
    F(activation) F(steps) F(lr) F(min_lr) F(warmup) F(b1) F(b2) F(eps) F(decay) F(clip)         \
    F(patience) F(seed) F(teacher) F(top_k) F(quant) F(quant_share) F(keep_zeros) F(threads) F(cpu_level)       \
    F(progress) F(user) F(cancel)
/* clang-format on */

BK_API void brisk_train_default(brisk_train_kind kind, brisk_train_options *options) {
    bk_train_options o;
    bool known = (unsigned)kind < BK_TRAIN_KINDS;
    bk_train_default(known ? (bk_train_kind)kind : BK_TRAIN_MLP, &o);
    *options = (brisk_train_options){.kind = kind};
#define COPY(f) options->f = o.f;
    FIELDS(COPY)
#undef COPY
}

BK_API brisk_status brisk_train_open(const brisk_train_options *options, brisk_train **train,
                                     brisk_error *err) {
    if (!train) return bk_api_null("train", err);
    *train = NULL;
    if (!options) return bk_api_null("options", err);
    bk_train_options o;
    bool known = (unsigned)options->kind < BK_TRAIN_KINDS;
    bk_train_default(known ? (bk_train_kind)options->kind : BK_TRAIN_MLP, &o);
    o.kind = (bk_train_kind)options->kind;
    o.vocab = (bk_vocab_kind)options->vocab;
    o.tune = (bk_train_tune)options->tune;
#define COPY(f) o.f = options->f;
    FIELDS(COPY)
#undef COPY
    bk_train *t = NULL;
    bk_error e;
    bk_status st = bk_train_open(&o, &t, &e);
    *train = (brisk_train *)t;
    return bk_api_result(st, &e, err);
}

BK_API void brisk_train_close(brisk_train **train) {
    if (!train) return;
    bk_train *t = train_of(*train);
    bk_train_close(&t);
    *train = NULL;
}

BK_API brisk_status brisk_train_step(brisk_train *train, brisk_train_report *report,
                                     brisk_error *err) {
    if (!train || !report) return bk_api_null(train ? "report" : "train", err);
    bk_train_report r;
    bk_error e;
    bk_status st = bk_train_step(train_of(train), &r, &e);
    if (!st)
        *report = (brisk_train_report){.step = r.step,
                                       .loss = r.loss,
                                       .lr = r.lr,
                                       .grad_norm = r.grad_norm,
                                       .tokens = r.tokens,
                                       .seconds = r.seconds};
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_train_validate(brisk_train *train, uint64_t most,
                                         brisk_train_score *score, brisk_error *err) {
    if (!train || !score) return bk_api_null(train ? "score" : "train", err);
    bk_train_score s;
    bk_error e;
    bk_status st = bk_train_validate(train_of(train), most, &s, &e);
    if (!st)
        *score = (brisk_train_score){.tokens = s.tokens,
                                     .loss = s.loss,
                                     .perplexity = exp(s.loss),
                                     .accuracy = s.accuracy,
                                     .classes = s.classes,
                                     .confusion = s.confusion,
                                     .before = s.before,
                                     .reference = s.reference,
                                     .recovered = s.recovered,
                                     .best = s.best,
                                     .stop = s.stop};
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_train_predict(brisk_train *train, const float *x, size_t n, int *classes,
                                        float *probabilities, brisk_error *err) {
    if (!train) return bk_api_null("train", err);
    if (!x || !classes) return bk_api_null(x ? "classes" : "x", err);
    bk_error e;
    bk_status st = bk_train_predict(train_of(train), x, n, classes, probabilities, &e);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_train_save(brisk_train *train, const char *path, brisk_error *err) {
    if (!train || !path) return bk_api_null(train ? "path" : "train", err);
    bk_error e;
    return bk_api_result(bk_train_save(train_of(train), path, &e), &e, err);
}

BK_API brisk_status brisk_train_write(brisk_train *train, const char *path, const char *type,
                                      brisk_error *err) {
    if (!train || !path) return bk_api_null(train ? "path" : "train", err);
    bk_error e;
    return bk_api_result(bk_train_write(train_of(train), path, type, &e), &e, err);
}

BK_API void brisk_train_get_info(const brisk_train *train, brisk_train_info *info) {
    bk_train_info i;
    bk_train_get_info(ctrain_of(train), &i);
    const bk_train_options *o = &i.o;
    *info = (brisk_train_info){.kind = (brisk_train_kind)o->kind,
                               .vocab = (brisk_vocab_kind)o->vocab,
                               .n_params = i.n_params,
                               .n_quantised = i.n_quantised,
                               .n_vocab = i.n_vocab,
                               .inputs = i.inputs,
                               .embedding = o->embedding,
                               .hidden = o->hidden,
                               .output = o->output,
                               .layers = o->layers,
                               .heads = o->heads,
                               .kv_heads = o->kv_heads,
                               .ffn = o->ffn,
                               .sequence = o->sequence,
                               .batch = o->batch,
                               .accumulate = o->accumulate,
                               .step = i.step,
                               .steps = o->steps,
                               .train_tokens = i.train_tokens,
                               .valid_tokens = i.valid_tokens,
                               .valid_chars = i.valid_chars,
                               .memory = i.memory,
                               .floor = i.floor,
                               .best_loss = i.best_loss,
                               .cpu_level = bk_cpu_level_name(i.cpu_level),
                               .threads = i.threads};
}

BK_API const char *brisk_train_class_name(const brisk_train *train, int i) {
    return train ? bk_train_class_name(ctrain_of(train), i) : NULL;
}
