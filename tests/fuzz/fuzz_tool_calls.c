/* A model's answer taken apart: any text, any form, cut anywhere. What comes out must not depend on the
 * cuts, arguments that were held back must be JSON objects, and without calls nothing may be missing. */
#include <stdlib.h>

#include "server/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct record {
    bk_buf all, args;
    size_t n_calls, n_other; /* other than content */
    bool whole;              /* arguments come complete */
} record;

static void end_args(record *r) {
    json_t *v = NULL;
    if (r->args.len == 0) return;
    if (r->whole && (bk_json_parse(bk_buf_view(&r->args), SV_CALL_JSON_DEPTH, false, &v, NULL) ||
                     !json_is_object(v))) {
        abort();
    }
    json_decref(v);
    bk_buf_clear(&r->args);
}

static void on_piece(const sv_answer_piece *p, void *user) {
    record *r = user;
    bk_str text = p->kind == SV_ANSWER_CALL ? p->name : p->text;
    if (text.len == 0) abort();
    if (p->kind != SV_ANSWER_ARGUMENTS) end_args(r);
    if (p->kind == SV_ANSWER_ARGUMENTS) {
        if (p->index + 1 != r->n_calls) abort();
        bk_buf_append(&r->args, text.data, text.len);
    }
    if (p->kind == SV_ANSWER_CALL && p->index != r->n_calls++) abort();
    r->n_other += p->kind != SV_ANSWER_CONTENT;
    bk_buf_append(&r->all, text.data, text.len);
}

static void run(const sv_answer_options *o, bk_str text, size_t cut, record *r) {
    sv_answer a;
    *r = (record){.whole = !o->stream_arguments};
    sv_answer_init(&a, o, on_piece, r);
    for (size_t at = 0; at < text.len; at += cut) {
        sv_answer_text(&a, (bk_str){text.data + at, bk_min_size(cut, text.len - at)});
    }
    sv_answer_finish(&a);
    end_args(r);
    if (a.n_calls != r->n_calls) abort();
    sv_answer_free(&a);
}

/* The first byte is the form and what else is wanted, the rest the answer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    bk_str text = {(const char *)data + 1, size - 1};
    json_t *tools = json_loads("[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{"
                               "\"n\":{\"type\":\"integer\"}}}}}]",
                               0, NULL);
    sv_answer_options o = {.calls = (sv_call_form)(data[0] % 5),
                           .tools = tools,
                           .stream_arguments = data[0] & 8,
                           .in_thought = data[0] & 32};
    if (data[0] & 16) {
        o.think_open = "<think>";
        o.think_close = "</think>";
    }
    record one, many;
    run(&o, text, text.len + 1, &one);
    run(&o, text, 1, &many);
    if (one.n_calls != many.n_calls || !bk_str_eq(bk_buf_view(&one.all), bk_buf_view(&many.all))) {
        abort();
    }
    bool cut = one.n_other > 0 || o.think_open;
    if (!cut && !bk_str_eq(bk_buf_view(&one.all), text)) abort();
    bk_buf_free(&one.all);
    bk_buf_free(&one.args);
    bk_buf_free(&many.all);
    bk_buf_free(&many.args);
    json_decref(tools);
    return 0;
}
