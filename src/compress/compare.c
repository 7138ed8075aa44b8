#include "compress/compare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "compress/recipe.h"
#include "measure/eval.h"
#include "model/model.h"

enum { BATCH = 512 };

typedef struct comparing {
    const bk_compare_options *o;
    bk_comparison *c;
    bk_model *models[BK_FRONTIER_MOST];
    const char *what; /* that is being done */
    char folder[4096];
    bk_error *err;
} comparing;

static void say(comparing *k, double done) {
    if (k->o->progress) k->o->progress(k->what, done, k->o->user);
}

static void on_share(double done, void *user) { say(user, done); }
static void on_step(const char *what, double done, void *user) {
    comparing *k = user;
    if (k->o->progress) k->o->progress(what, done, k->o->user);
}
static void on_count(size_t done, size_t total, void *user) {
    say(user, (double)done / (double)total);
}
static void on_window(size_t done, size_t total, double ppl, void *user) {
    (void)ppl;
    on_count(done, total, user);
}

/* ---- Candidates --------------------------------------------------------------------------------- */

static bk_status make_folder(comparing *k) {
    const char *tmp = getenv("TMPDIR");
    int len = snprintf(k->folder, sizeof k->folder, "%s/brisk-compare-XXXXXX",
                       tmp && *tmp ? tmp : "/tmp");
    if (len < 0 || (size_t)len >= sizeof k->folder - 32 || !mkdtemp(k->folder)) {
        bk_status st = bk_fail(k->err, BK_ERR_IO, "no folder for candidates in %s: %s",
                               tmp && *tmp ? tmp : "/tmp", strerror(errno));
        k->folder[0] = '\0';
        return st;
    }
    return BK_OK;
}

/* The file's name without what all end with. */
static bk_str file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    bk_str name = bk_str_from(slash && slash[1] ? slash + 1 : path), end = BK_STR(".gguf");
    if (name.len > end.len && bk_str_eq((bk_str){name.data + name.len - end.len, end.len}, end))
        name.len -= end.len;
    return name;
}

static bk_status load(comparing *k, const char *path, bk_str name, bool dense) {
    size_t i = k->c->n;
    bk_compare_row *r = &k->c->rows[i];
    const bk_model_options o = {.threads = k->o->threads};
    k->what = "loading";
    bk_status st = bk_model_load(path, &o, &k->models[i], k->err);
    if (st) return st;
    k->c->n++;
    if (!(r->name = bk_strndup(name.data, name.len)))
        return bk_fail(k->err, BK_ERR_NOMEM, "no memory for a name");
    const bk_model_meta *meta = bk_model_get_meta(k->models[i]);
    r->file_bytes = meta->file_bytes;
    r->resident_bytes = meta->resident_bytes;
    r->n_params = meta->n_params;
    r->dense = dense && r->n_params == k->c->rows[0].n_params;
    return BK_OK;
}

static bk_status make_and_load(comparing *k, const char *source, const char *recipe) {
    char path[sizeof k->folder + 32];
    bool prunes = false;
    bk_status st = bk_recipe_check(recipe, &prunes, k->err);
    if (!st && !k->folder[0]) st = make_folder(k);
    if (st) return st;
    snprintf(path, sizeof path, "%s/candidate.gguf", k->folder);
    const bk_recipe_options o = {.text = k->o->calibrate,
                                 .threads = k->o->threads,
                                 .progress = on_step,
                                 .user = k,
                                 .cancel = k->o->cancel};
    st = bk_recipe_make(recipe, source, path, &o, k->err);
    if (!st) st = load(k, path, bk_str_from(recipe), !prunes);
    unlink(path); /* a model needs its file only while it loads */
    return st;
}

static bk_status gather(comparing *k, const char *source, const char *const *items, size_t n) {
    bk_status st = load(k, source, BK_STR("source"), true);
    for (size_t i = 0; i < n && !st; i++) { /* before the first takes minutes */
        if (access(items[i], F_OK) != 0) st = bk_recipe_check(items[i], NULL, k->err);
    }
    for (size_t i = 0; i < n && !st; i++) {
        if (access(items[i], F_OK) == 0) {
            st = load(k, items[i], file_name(items[i]), true);
        } else {
            st = make_and_load(k, source, items[i]);
        }
    }
    if (k->folder[0]) rmdir(k->folder);
    return st;
}

/* ---- Measuring ---------------------------------------------------------------------------------- */

static bk_status measure_speed(comparing *k) {
    bk_lap laps[BK_FRONTIER_MOST];
    bk_status st = BK_OK;
    for (int phase = 0; phase < BK_COMPARE_PHASES && !st; phase++) {
        bool decode = phase == BK_COMPARE_DECODE;
        const bk_bench_test test = {.n_prompt = decode ? 0 : k->o->n_prompt,
                                    .n_gen = decode ? k->o->n_gen : 0,
                                    .n_seqs = 1,
                                    .batch = BATCH,
                                    .repetitions = 1,
                                    .cancel = k->o->cancel};
        k->what = decode ? "decode speed" : "prefill speed";
        st = bk_race(k->models, k->c->n, &test, k->o->rounds, on_share, k, laps, k->err);
        for (size_t i = 0; i < k->c->n && !st; i++) k->c->rows[i].laps[phase] = laps[i];
    }
    return st;
}

static bk_status measure_quality(comparing *k) {
    bk_summary out[BK_FRONTIER_MOST];
    const bk_eval_options o = {.context = k->o->context,
                               .reference = k->models[0],
                               .progress = on_window,
                               .user = k,
                               .cancel = k->o->cancel,
                               .max_windows = (size_t)k->o->windows};
    k->what = "quality";
    bk_status st = bk_eval_text_many(k->models, k->c->n, k->o->text, &o, out, k->err);
    for (size_t i = 0; i < k->c->n && !st; i++) k->c->rows[i].quality = out[i];
    return st;
}

static bk_status measure_answers(comparing *k) {
    bk_greedy out[BK_FRONTIER_MOST];
    if (k->o->prompts <= 0) return BK_OK;
    const bk_greedy_options o = {.n_prompts = (size_t)k->o->prompts,
                                 .n_tokens = (size_t)k->o->answer_tokens,
                                 .progress = on_count,
                                 .user = k,
                                 .cancel = k->o->cancel};
    k->what = "greedy answers";
    bk_status st = bk_greedy_compare(k->models[0], k->models, k->c->n, k->o->text, &o, out, k->err);
    for (size_t i = 0; i < k->c->n && !st; i++) k->c->rows[i].answers = out[i];
    return st;
}

static bk_status measure_choices(comparing *k) {
    bk_choices c;
    if (k->o->choices.len == 0) return BK_OK;
    bk_status st = bk_choices_parse(k->o->choices, &c, k->err);
    if (st) return st;
    uint8_t *picked = bk_alloc(c.n, 2);
    if (!picked) st = bk_fail(k->err, BK_ERR_NOMEM, "no memory for %zu answers", c.n);
    k->what = "multiple choice";
    for (size_t i = 0; i < k->c->n && !st; i++) {
        uint8_t *mine = i ? picked + c.n : picked;
        st = bk_choices_answer(k->models[i], &c, mine, on_count, k, k->o->cancel, k->err);
        if (!st) k->c->rows[i].flips = bk_choices_count(&c, mine, picked);
    }
    bk_free(picked);
    bk_choices_free(&c);
    return st;
}

static void judge(bk_comparison *c) {
    bk_point points[BK_FRONTIER_MOST];
    for (int phase = 0; phase < BK_COMPARE_PHASES; phase++) {
        for (size_t i = 0; i < c->n; i++) {
            const bk_compare_row *r = &c->rows[i];
            points[i] = (bk_point){r->laps[phase].ratio, r->laps[phase].spread, r->quality.kl_mean,
                                   r->dense};
        }
        for (size_t i = 0; i < c->n; i++)
            c->rows[i].judged[phase] = bk_frontier_judge(points, c->n, i);
    }
}

/* ---- Together ----------------------------------------------------------------------------------- */

static bk_status check(const bk_compare_options *o, size_t n, bk_error *err) {
    if (n == 0 || n >= BK_FRONTIER_MOST) {
        return bk_fail(err, BK_ERR_INVALID, "%zu recipes to compare: 1 to %d are possible", n,
                       BK_FRONTIER_MOST - 1);
    }
    if (o->text.len == 0)
        return bk_fail(err, BK_ERR_INVALID, "there is no text to measure quality on");
    if (o->n_prompt < 1 || o->n_gen < 1 || o->windows < 0 || o->prompts < 0 ||
        (o->prompts > 0 && o->answer_tokens < 1)) {
        return bk_fail(err, BK_ERR_INVALID,
                       "a comparison needs tokens to measure speed and answers");
    }
    return BK_OK;
}

bk_status bk_compare(const char *source, const char *const *items, size_t n,
                     const bk_compare_options *o, bk_comparison **out, bk_error *err) {
    comparing k = {.o = o, .c = bk_alloc_zero(1, sizeof(bk_comparison)), .err = err};
    *out = NULL;
    if (!k.c) return bk_fail(err, BK_ERR_NOMEM, "no memory for a comparison");
    bk_status st = check(o, n, err);
    if (!st) st = gather(&k, source, items, n);
    if (!st) st = measure_speed(&k);
    if (!st) st = measure_quality(&k);
    if (!st) st = measure_answers(&k);
    if (!st) st = measure_choices(&k);
    if (!st) {
        const bk_model_meta *meta = bk_model_get_meta(k.models[0]);
        judge(k.c);
        k.c->threads = meta->threads;
        snprintf(k.c->cpu_level, sizeof k.c->cpu_level, "%s", bk_cpu_level_name(meta->cpu_level));
    }
    for (size_t i = 0; i < BK_FRONTIER_MOST; i++)
        if (k.models[i]) bk_model_unref(&k.models[i]);
    *out = k.c;
    if (st) bk_comparison_free(out);
    return st;
}

void bk_comparison_free(bk_comparison **c) {
    if (*c)
        for (size_t i = 0; i < (*c)->n; i++) bk_free((*c)->rows[i].name);
    bk_free(*c);
    *c = NULL;
}
