/* Questions with one right answer among some: a model answers with the most likely continuation. */
#ifndef BRISK_MEASURE_CHOICES_H
#define BRISK_MEASURE_CHOICES_H

#include "base/str.h"
#include "model/model.h"

enum { BK_CHOICES_MOST = 26 };

typedef struct bk_question {
    bk_str text, choices[BK_CHOICES_MOST]; /* none is empty */
    size_t n_choices, answer;
} bk_question;

typedef struct bk_choices {
    bk_question *questions; /* [n] */
    size_t n;
    void *json; /* holds the texts */
} bk_choices;

/* From JSON: a list of {"question": text, "choices": [two to 26 texts], "answer": index}; other keys are
 * left alone. FORMAT (what and where), LIMIT, NOMEM; out is empty then. */
bk_status bk_choices_parse(bk_str json, bk_choices *out, bk_error *err);
void bk_choices_free(bk_choices *c);

/* picked[c->n]: of each question the choice whose tokens, after question and a blank, have the largest
 * log-probability divided by the choice's length in characters: the acc_norm of EleutherAI's
 * lm-evaluation-harness. progress may be NULL. INVALID (a question longer than the context), CANCELLED,
 * NOMEM. */
bk_status bk_choices_answer(bk_model *model, const bk_choices *c, uint8_t *picked,
                            void (*progress)(size_t done, size_t total, void *user), void *user,
                            const volatile bool *cancel, bk_error *err);

typedef struct bk_flips {
    size_t n, right, ref_right;
    size_t to_wrong, to_right; /* right with the reference and wrong now; the other way round */
} bk_flips;

/* ref may be NULL: then only n and right are counted. */
bk_flips bk_choices_count(const bk_choices *c, const uint8_t *picked, const uint8_t *ref);

#endif
