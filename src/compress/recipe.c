#include "compress/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/prune.h"
#include "compress/quantize.h"

enum { MOST_STEPS = 4, NAME = 64 };

typedef struct step {
    char text[NAME]; /* cut at its colons */
    const char *strategy;
    double ratio;
    bool no_repair;
    const bk_preset *preset; /* NULL: a pruning */
} step;

static bk_status read_pruning(step *s, const char *whole, bk_error *err) {
    char *rest = s->text + strlen("prune:"), *end = NULL, *ratio = strchr(rest, ':');
    if (ratio) *ratio++ = '\0';
    s->strategy = rest;
    if (ratio) s->ratio = strtod(ratio, &end);
    s->no_repair = end && strcmp(end, ":no-repair") == 0;
    if (!*rest || !ratio || end == ratio || (*end && !s->no_repair) ||
        !(s->ratio > 0 && s->ratio < 1)) {
        return bk_fail(err, BK_ERR_INVALID,
                       "recipe '%s': a pruning is prune:STRATEGY:RATIO, as prune:channels:0.2",
                       whole);
    }
    return BK_OK;
}

static bk_status read_steps(const char *recipe, step *steps, size_t *n, bk_error *err) {
    *n = 0;
    for (const char *at = recipe;; at++) {
        size_t len = strcspn(at, "+");
        if (*n == MOST_STEPS || len == 0 || len >= NAME) {
            return bk_fail(err, BK_ERR_INVALID,
                           "recipe '%s': 1 to %d steps of up to %d characters with + between them",
                           recipe, MOST_STEPS, NAME - 1);
        }
        step *s = &steps[(*n)++];
        *s = (step){.ratio = 0};
        memcpy(s->text, at, len);
        if (strncmp(s->text, "prune:", strlen("prune:")) == 0) {
            bk_status st = read_pruning(s, recipe, err);
            if (st) return st;
        } else if (!(s->preset = bk_preset_named(s->text))) {
            char names[512];
            bk_preset_names(names, sizeof names);
            return bk_fail(err, BK_ERR_INVALID,
                           "recipe '%s': '%s' is no file, no pruning and no type: %s", recipe,
                           s->text, names);
        }
        at += len;
        if (!*at) return BK_OK;
    }
}

bk_status bk_recipe_check(const char *recipe, bool *prunes, bk_error *err) {
    step steps[MOST_STEPS];
    size_t n;
    bk_status st = read_steps(recipe, steps, &n, err);
    if (prunes) *prunes = false;
    for (size_t i = 0; i < n && !st && prunes; i++) *prunes |= steps[i].preset == NULL;
    return st;
}

static bk_status take_step(const step *s, const char *in, const char *out,
                           const bk_recipe_options *o, bk_error *err) {
    if (s->preset) {
        const bk_quantize_options q = {.plan = {.preset = s->preset},
                                       .text = o->text.len ? o->text : (bk_str){NULL, 0},
                                       .text_name = "calibration",
                                       .threads = o->threads,
                                       .progress = o->progress,
                                       .user = o->user,
                                       .cancel = o->cancel};
        bk_quantize_report report;
        return bk_quantize(in, out, &q, &report, err);
    }
    const bk_prune_options p = {.strategy = s->strategy,
                                .ratio = s->ratio,
                                .calibrate = o->text,
                                .no_repair = s->no_repair,
                                .threads = o->threads,
                                .progress = o->progress,
                                .user = o->user,
                                .cancel = o->cancel};
    bk_prune_result result;
    return bk_prune(in, out, &p, &result, err);
}

bk_status bk_recipe_make(const char *recipe, const char *in, const char *out,
                         const bk_recipe_options *o, bk_error *err) {
    step steps[MOST_STEPS];
    size_t n;
    char between[2][4096];
    bk_status st = read_steps(recipe, steps, &n, err);
    for (int i = 0; i < 2 && !st; i++) {
        int len = snprintf(between[i], sizeof between[i], "%s.%d", out, i);
        if (len < 0 || (size_t)len >= sizeof between[i])
            st = bk_fail(err, BK_ERR_INVALID, "a path too long: %s", out);
    }
    if (st) return st;
    for (size_t i = 0; i < n && !st; i++) {
        bk_error e;
        st = take_step(&steps[i], i ? between[(i + 1) % 2] : in, i + 1 < n ? between[i % 2] : out,
                       o, &e);
        if (st) bk_fail(err, st, "recipe '%s': %s", recipe, e.text);
        if (i) unlink(between[(i + 1) % 2]);
    }
    if (st && n > 1)
        for (int i = 0; i < 2; i++) unlink(between[i]);
    return st;
}
