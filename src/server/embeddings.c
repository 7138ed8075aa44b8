/* POST /v1/embeddings: texts or tokens to vectors. */
#include "base/mem.h"
#include "server/reply_json.h"

enum {
    INPUTS_MOST = 2048,
    AT_ONCE = 32 /* requests to the engine: many texts must not fill everybody's queue */
};

typedef struct embedding {
    sv_job base;
    json_t *body;
    bk_arena memory;
    const sv_prompt *inputs;
    sv_choice *choices;
    sv_choice **list;
    size_t n, next; /* inputs; the next to be submitted */
    float *values;  /* n rows */
    size_t width;
    bool base64;
} embedding;

static bool submit_next(embedding *k, sv_problem *p) {
    const sv_prompt *input = &k->inputs[k->next];
    brisk_request e;
    brisk_request_default(&e);
    e.kind = BRISK_REQUEST_EMBED;
    e.pooling = k->base.s->o->pooling;
    e.tokens = input->tokens;
    e.n_tokens = input->n_tokens;
    k->base.n_prompt += e.n_tokens;
    return sv_job_submit(&k->base, &k->choices[k->next++], &e, p);
}

static bool submit(sv_job *j, sv_problem *p) {
    embedding *k = (embedding *)j;
    while (k->next < k->n && k->next < AT_ONCE) {
        if (!submit_next(k, p)) return false;
    }
    return true;
}

static bool on_event(sv_job *j, sv_choice *c, const brisk_event *e) {
    embedding *k = (embedding *)j;
    sv_problem p;
    if (e->kind == BRISK_EVENT_EMBEDDING && e->n_values == k->width)
        memcpy(k->values + (size_t)c->index * k->width, e->values, k->width * sizeof(float));
    if (e->kind != BRISK_EVENT_DONE || e->status != BRISK_OK || k->next == k->n) return true;
    if (submit_next(k, &p)) return true;
    sv_job_fail(j, &p);
    return false;
}

/* RFC 4648. */
static void write_base64(bk_json *w, const unsigned char *data, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bk_buf text = {0};
    for (size_t i = 0; i < len; i += 3) {
        size_t n = bk_min_size(len - i, 3);
        unsigned v = (unsigned)data[i] << 16;
        if (n > 1) v |= (unsigned)data[i + 1] << 8;
        if (n > 2) v |= data[i + 2];
        const char four[] = {digits[v >> 18], digits[v >> 12 & 63],
                             n > 1 ? digits[v >> 6 & 63] : '=', n > 2 ? digits[v & 63] : '='};
        bk_buf_append(&text, four, sizeof four);
    }
    bk_json_str(w, bk_buf_view(&text));
    if (text.failed) w->out->failed = true;
    bk_buf_free(&text);
}

static void write_vector(bk_json *w, const embedding *k, size_t i) {
    const float *row = k->values + i * k->width;
    bk_json_begin(w, '{');
    bk_json_key_str(w, "object", "embedding");
    bk_json_key_uint(w, "index", i);
    bk_json_key(w, "embedding");
    if (k->base64) {
        write_base64(w, (const unsigned char *)row, k->width * sizeof *row);
    } else {
        bk_json_begin(w, '[');
        for (size_t c = 0; c < k->width; c++) bk_json_double(w, (double)row[c], 9);
        bk_json_end(w, ']');
    }
    bk_json_end(w, '}');
}

static void on_finish(sv_job *j) {
    embedding *k = (embedding *)j;
    sv_exchange *x = j->x;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "object", "list");
    bk_json_key(&w, "data");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < k->n; i++) write_vector(&w, k, i);
    bk_json_end(&w, ']');
    bk_json_key_str(&w, "model", j->s->name);
    bk_json_key(&w, "usage");
    bk_json_begin(&w, '{');
    bk_json_key_uint(&w, "prompt_tokens", j->n_prompt);
    bk_json_key_uint(&w, "total_tokens", j->n_prompt);
    bk_json_end(&w, '}');
    bk_json_end(&w, '}');
    sv_job_end(j);
    sv_reply_json(x, 200, &out);
}

static void destroy(sv_job *j) {
    embedding *k = (embedding *)j;
    bk_free(k->choices);
    bk_free(k->list);
    bk_free(k->values);
    bk_arena_free(&k->memory);
    json_decref(k->body);
    bk_free(k);
}

static const sv_job_kind kind = {"embd-", "embedding", on_event, submit, on_finish, destroy};

/* ---- The request -------------------------------------------------------------------------------- */

static bool read_fields(embedding *k, const sv_server *s, const sv_exchange *x, sv_problem *p) {
    sv_field_error err;
    if (!sv_fields_parse(bk_buf_view(&x->body), &k->body, &err)) return sv_problem_field(p, &err);
    const sv_fields f = {.object = k->body, .path = "", .err = &err};
    int64_t dimensions = s->info.n_out;
    bk_str format = {"float", 5};
    if (!sv_prompts_read(&f, "input", INPUTS_MOST, s->info.n_vocab, &k->memory, &k->inputs,
                         &k->n) ||
        !sv_field_str(&f, "encoding_format", 16, &format) ||
        !sv_field_int(&f, "dimensions", dimensions, dimensions, &dimensions))
        return sv_problem_field(p, &err);
    k->base64 = bk_str_eq(format, BK_STR("base64"));
    if (k->base64 || bk_str_eq(format, BK_STR("float"))) return true;
    return sv_problem_set(p, 400, "invalid_value", "encoding_format",
                          "encoding_format: wanted \"float\" or \"base64\"");
}

static bool make_room(embedding *k) {
    size_t cells;
    if (!bk_mul_size(k->n, k->width, &cells)) return false;
    k->choices = bk_alloc_zero(k->n, sizeof *k->choices);
    k->list = bk_alloc_zero(k->n, sizeof(*k->list));
    k->values = bk_alloc_zero(cells, sizeof *k->values);
    if (!k->choices || !k->list || !k->values) return false;
    for (size_t i = 0; i < k->n; i++) {
        k->choices[i] = (sv_choice){.index = (unsigned)i, .job = &k->base};
        k->list[i] = &k->choices[i];
    }
    k->base.choices = k->list;
    k->base.n_choices = k->n;
    k->base.per_prompt = 1;
    return true;
}

void sv_post_embeddings(sv_server *s, sv_exchange *x) {
    sv_problem p;
    embedding *k = bk_alloc_zero(1, sizeof *k);
    bool good = k ? read_fields(k, s, x, &p)
                  : sv_problem_set(&p, 503, "out_of_memory", NULL, "no memory for the request");
    if (good) good = sv_prompts_tokenize(s, "input", false, &k->memory, &k->inputs, k->n, &p);
    if (good) k->width = (size_t)s->info.n_out;
    if (good && !make_room(k))
        good = sv_problem_set(&p, 503, "out_of_memory", NULL, "no memory for the request");
    if (!good) {
        if (k) destroy(&k->base);
        sv_reply_problem(x, &p);
        return;
    }
    sv_job_ready(&k->base, s, x, &kind, NULL);
}
