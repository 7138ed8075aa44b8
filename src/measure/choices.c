#include "measure/choices.h"

#include <math.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "measure/feed.h"
#include "measure/logprob.h"

enum { DEPTH = 8, MOST_QUESTIONS = 1 << 20, BATCH = 256, ROWS = 32 };

/* ---- The list ----------------------------------------------------------------------------------- */

static bk_status read_question(const json_t *v, size_t i, bk_question *q, bk_error *err) {
    const json_t *choices = json_object_get(v, "choices"), *answer = json_object_get(v, "answer");
    q->text = bk_json_text(json_object_get(v, "question"));
    q->n_choices = json_array_size(choices);
    if (q->text.len == 0) {
        return bk_fail(err, BK_ERR_FORMAT, "question %zu of the list has no text \"question\"", i);
    }
    if (q->n_choices < 2 || q->n_choices > BK_CHOICES_MOST) {
        return bk_fail(err, BK_ERR_FORMAT, "question %zu has %zu \"choices\", it takes 2 to %d", i,
                       q->n_choices, BK_CHOICES_MOST);
    }
    for (size_t k = 0; k < q->n_choices; k++) {
        q->choices[k] = bk_json_text(json_array_get(choices, k));
        if (q->choices[k].len == 0)
            return bk_fail(err, BK_ERR_FORMAT, "choice %zu of question %zu is no text", k, i);
    }
    json_int_t right = json_is_integer(answer) ? json_integer_value(answer) : -1;
    if (right < 0 || (size_t)right >= q->n_choices) {
        return bk_fail(err, BK_ERR_FORMAT, "the \"answer\" of question %zu is no index of a choice",
                       i);
    }
    q->answer = (size_t)right;
    return BK_OK;
}

bk_status bk_choices_parse(bk_str text, bk_choices *out, bk_error *err) {
    json_t *list;
    *out = (bk_choices){0};
    bk_status st = bk_json_parse(text, DEPTH, false, &list, err);
    if (st) return st;
    size_t n = json_array_size(list);
    if (n == 0 || n > MOST_QUESTIONS) {
        st = bk_fail(err, BK_ERR_FORMAT,
                     "no list of questions, as {\"question\": \"...\", "
                     "\"choices\": [\"...\", \"...\"], \"answer\": 0}");
    } else if (!(out->questions = bk_alloc_zero(n, sizeof *out->questions))) {
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu questions", n);
    }
    out->json = list;
    for (; out->n < n && !st; out->n++)
        st = read_question(json_array_get(list, out->n), out->n, &out->questions[out->n], err);
    if (st) bk_choices_free(out);
    return st;
}

void bk_choices_free(bk_choices *c) {
    bk_free(c->questions);
    if (c->json) json_decref(c->json);
    *c = (bk_choices){0};
}

bk_flips bk_choices_count(const bk_choices *c, const uint8_t *picked, const uint8_t *ref) {
    bk_flips f = {.n = c->n};
    for (size_t i = 0; i < c->n; i++) {
        bool right = picked[i] == c->questions[i].answer;
        bool was = ref && ref[i] == c->questions[i].answer;
        f.right += right;
        if (!ref) continue;
        f.ref_right += was;
        f.to_wrong += was && !right;
        f.to_right += right && !was;
    }
    return f;
}

/* ---- Answering ---------------------------------------------------------------------------------- */

typedef struct exam {
    bk_feed feed;
    const volatile bool *cancel;
    bk_ids ids, question; /* of a question with a choice; of the question alone */
    bk_buf text;
} exam;

static bk_status encode(exam *e, bk_str text, bk_ids *ids, bk_error *err) {
    const bk_tokenizer *t = bk_model_tokenizer(e->feed.model);
    int32_t begin = bk_tokenizer_add_bos(t) ? bk_tokenizer_bos(t) : -1;
    ids->len = 0;
    if (begin >= 0 && !bk_ids_push(ids, begin)) return bk_fail(err, BK_ERR_NOMEM, "no memory");
    return bk_tokenizer_encode(t, text, false, ids, err);
}

/* The sum of the log-probabilities of ids[from, n). Of what is in memory, ids[0, *kept) stay. */
static bk_status likelihood(exam *e, size_t from, size_t *kept, double *sum, bk_error *err) {
    bk_feed *f = &e->feed;
    const int32_t *ids = e->ids.data;
    size_t n = e->ids.len, keep = bk_min_size(*kept, from - 1);
    bk_status st = bk_feed_rewind(f, keep, err);
    if (st == BK_ERR_LIMIT) st = bk_feed_rewind(f, keep = 0, err);
    f->context = n;
    if (!st) st = bk_feed_tokens(f, ids + keep, from - 1 - keep, 0, e->cancel, err);
    *sum = 0;
    for (size_t at = from; at < n && !st;) {
        size_t rows = bk_min_size(n - at, ROWS);
        st = bk_feed_tokens(f, ids + at - 1, rows, rows, e->cancel, err);
        for (size_t i = 0; i < rows && !st; i++, at++) {
            const float *logits = f->rows + i * f->n_vocab;
            *sum += (double)logits[ids[at]] - bk_logprob_norm(logits, f->n_vocab);
        }
    }
    *kept = from - 1;
    return st;
}

/* Code points of UTF-8. */
static size_t n_characters(bk_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.data[i] & 0xc0) != 0x80;
    return bk_max_size(n, 1);
}

static bk_status one_choice(exam *e, bk_str question, bk_str choice, size_t *kept, double *score,
                            bk_error *err) {
    e->text.len = 0;
    bk_buf_append(&e->text, question.data, question.len);
    bk_buf_putc(&e->text, ' ');
    bk_buf_append(&e->text, choice.data, choice.len);
    if (e->text.failed) return bk_fail(err, BK_ERR_NOMEM, "no memory for a question");
    bk_status st = encode(e, (bk_str){e->text.data, e->text.len}, &e->ids, err);
    size_t from = 0, n = e->ids.len, most = (size_t)bk_model_config(e->feed.model)->context_length;
    while (from < e->question.len && from + 1 < n && e->ids.data[from] == e->question.data[from])
        from++;
    if (!st && (from == 0 || n > most)) {
        st = bk_fail(err, BK_ERR_INVALID, "a question of %zu tokens, this model takes 2 to %zu", n,
                     most);
    }
    if (!st) st = likelihood(e, from, kept, score, err);
    *score /= (double)n_characters(choice);
    return st;
}

static bk_status answer(exam *e, const bk_question *q, uint8_t *picked, bk_error *err) {
    size_t kept = 0;
    double best = -INFINITY;
    bk_status st = encode(e, q->text, &e->question, err);
    *picked = 0;
    for (size_t k = 0; k < q->n_choices && !st; k++) {
        double score = 0;
        st = one_choice(e, q->text, q->choices[k], &kept, &score, err);
        if (score > best) best = score, *picked = (uint8_t)k;
    }
    return st;
}

bk_status bk_choices_answer(bk_model *model, const bk_choices *c, uint8_t *picked,
                            void (*progress)(size_t done, size_t total, void *user), void *user,
                            const volatile bool *cancel, bk_error *err) {
    exam e = {.cancel = cancel};
    bk_status st = bk_feed_init(&e.feed, model, BATCH, ROWS, err);
    for (size_t i = 0; i < c->n && !st; i++) {
        st = answer(&e, &c->questions[i], &picked[i], err);
        if (!st && progress) progress(i + 1, c->n, user);
    }
    bk_feed_free(&e.feed);
    bk_ids_free(&e.ids);
    bk_ids_free(&e.question);
    bk_buf_free(&e.text);
    return st;
}
