/* What several recipes make of one model, side by side: size, speed, quality, and whom each must fear. */
#ifndef BRISK_COMPRESS_COMPARE_H
#define BRISK_COMPRESS_COMPARE_H

#include "compress/frontier.h"
#include "measure/choices.h"
#include "measure/greedy.h"
#include "measure/race.h"
#include "measure/score.h"

typedef struct bk_compare_options {
    bk_str calibrate;            /* text for recipes; empty: none */
    bk_str text;                 /* that all are measured with */
    bk_str choices;              /* JSON of bk_choices_parse; empty: none */
    int context;                 /* tokens a window of the text; 0: 512 */
    int windows;                 /* of the text that are read, the first; 0: all */
    int rounds, n_prompt, n_gen; /* of timing */
    int prompts, answer_tokens;  /* greedy answers; prompts 0: none */
    int threads;
    /* What is done now, and how far it is, 0..1; may be NULL. */
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} bk_compare_options;

enum { BK_COMPARE_DECODE, BK_COMPARE_PREFILL, BK_COMPARE_PHASES };

typedef struct bk_compare_row {
    char *name; /* "source", the recipe, the file's name */
    bool dense;
    uint64_t file_bytes, resident_bytes, n_params;
    bk_lap laps[BK_COMPARE_PHASES];
    bk_judgement judged[BK_COMPARE_PHASES]; /* indices are rows */
    bk_summary quality;                     /* reference: the source */
    bk_greedy answers;
    bk_flips flips;
} bk_compare_row;

typedef struct bk_comparison {
    bk_compare_row rows[BK_FRONTIER_MOST]; /* the first is the source */
    size_t n;
    char cpu_level[16];
    int threads;
} bk_comparison;

/* items[n]: recipes (compress/recipe.h) and files; what is the path of something that exists is a file.
 * A file counts as dense when it has as many weights as the source and needs no extension. Candidates are
 * made in a temporary folder ($TMPDIR) that does not stay; all are loaded at once. *out is freed with
 * bk_comparison_free. INVALID (a recipe, more than 63 of them, vocabularies that differ) and the errors of
 * making, loading and measuring. */
bk_status bk_compare(const char *source, const char *const *items, size_t n,
                     const bk_compare_options *options, bk_comparison **out, bk_error *err);
void bk_comparison_free(bk_comparison **c);

#endif
