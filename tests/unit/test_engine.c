/* Many requests at once over a small random model: every answer is the one that brisk_generate gives
 * for the request alone, whatever runs beside it, is cached, cancelled or preempted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "brisk_engine.h"
#include "fail_alloc.h"

static brisk_model *model;
static bool fast; /* all tests again with a model that was opened so */
static brisk_model_info info;
static brisk_token prompt[512];
static size_t n_prompt;

static const char text[] =
    "The library on the hill was built in 1887, of brick and slate, with a clock that has never "
    "been "
    "right. Its first keeper, a retired ship's carpenter named Odell, read every book before he "
    "let "
    "anyone borrow it, and wrote his opinion inside the cover in pencil. Some of those notes are "
    "still there. In one volume on bees he wrote: true, mostly. In a treatise on tides: he has not "
    "seen one. People come now from three counties to read the notes rather than the books.";

static int open_model(void **state) {
    (void)state;
    brisk_error err;
    brisk_model_options o = {.fast = fast};
    if (brisk_model_open("tests/data/tiny_chat.gguf", &o, &model, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    brisk_model_get_info(model, &info);
    if (brisk_tokenize(model, text, strlen(text), true, false, prompt, BK_ARRAY_LEN(prompt),
                       &n_prompt, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int close_model(void **state) {
    (void)state;
    brisk_model_close(&model);
    return 0;
}

/* What came of one request. */
typedef struct outcome {
    uint64_t id;
    char text[8192];
    size_t len, n_tokens, n_prompt_events;
    brisk_token tokens[1024];
    float logprobs[1024], prompt_logprobs[512];
    float values[512];
    size_t n_values;
    bool started, done;
    brisk_finish finish;
    brisk_status status;
    brisk_request_stats stats;
    char stop[64];
} outcome;

enum { MAX_REQUESTS = 64 };
static outcome outcomes[MAX_REQUESTS];

static brisk_engine *open_engine(const brisk_engine_options *options) {
    brisk_engine *engine = NULL;
    brisk_error err;
    if (brisk_engine_create(model, options, &engine, &err)) fail_msg("%s", err.text);
    memset(outcomes, 0, sizeof outcomes);
    return engine;
}

static brisk_request request_of(const brisk_token *tokens, size_t n, int max_tokens) {
    brisk_request r;
    brisk_request_default(&r);
    r.tokens = tokens;
    r.n_tokens = n;
    r.max_tokens = max_tokens;
    r.ignore_end = true;
    r.sampling.temperature = 0;
    return r;
}

static void submit(brisk_engine *engine, brisk_request r, size_t i) {
    brisk_error err;
    r.tag = i;
    if (brisk_engine_submit(engine, &r, &outcomes[i].id, NULL, &err)) fail_msg("%s", err.text);
}

static void note(const brisk_event *e) {
    outcome *o = &outcomes[e->tag];
    assert_int_equal(o->id, e->request);
    assert_false(o->done);
    o->stats = e->stats;
    assert_true(o->len + e->text_len < sizeof o->text);
    memcpy(o->text + o->len, e->text, e->text_len);
    o->len += e->text_len;
    switch (e->kind) {
    case BRISK_EVENT_STARTED: o->started = true; break;
    case BRISK_EVENT_TOKEN:
        o->logprobs[o->n_tokens] = e->logprob;
        if (e->has_logprob && e->n_top > 0) assert_true(e->top[0].logprob >= e->logprob);
        o->tokens[o->n_tokens++] = e->token;
        break;
    case BRISK_EVENT_PROMPT:
        assert_int_equal(e->has_logprob, o->n_prompt_events > 0);
        o->prompt_logprobs[o->n_prompt_events++] = e->logprob;
        break;
    case BRISK_EVENT_EMBEDDING:
        memcpy(o->values, e->values, e->n_values * sizeof(float));
        o->n_values = e->n_values;
        break;
    case BRISK_EVENT_DONE:
        o->done = true;
        o->finish = e->finish;
        o->status = e->status;
        if (e->status) print_error("request %d: %s\n", (int)e->tag, e->message);
        if (e->stop) memcpy(o->stop, e->stop, strlen(e->stop) + 1);
        break;
    default: break;
    }
}

static void wait_event(brisk_engine *engine, brisk_event *e) {
    while (!brisk_engine_poll(engine, e)) {
        struct pollfd p = {.fd = brisk_engine_fd(engine), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 20000), 1);
    }
    note(e);
}

static void drain(brisk_engine *engine, size_t n) {
    brisk_event e;
    size_t done = 0;
    for (size_t i = 0; i < n; i++) done += outcomes[i].done;
    while (done < n) {
        wait_event(engine, &e);
        done += e.kind == BRISK_EVENT_DONE;
    }
}

/* The answer of brisk_generate to the same request. */
typedef struct expected {
    char text[8192];
    size_t len;
} expected;

static bool collect(const char *piece, size_t len, brisk_token token, void *user) {
    expected *x = user;
    (void)token;
    memcpy(x->text + x->len, piece, len);
    x->len += len;
    return true;
}

static void generate(const brisk_request *r, expected *out) {
    brisk_session *s = NULL;
    brisk_generate_options o;
    brisk_error err;
    brisk_generate_options_default(&o);
    o.sampling = r->sampling;
    o.max_tokens = r->max_tokens;
    o.ignore_end = r->ignore_end;
    o.stop = r->stop;
    o.n_stop = r->n_stop;
    out->len = 0;
    if (brisk_session_create(model, NULL, &s, &err) ||
        brisk_session_append(s, r->tokens, r->n_tokens, &err) ||
        brisk_generate(s, &o, collect, out, NULL, &err))
        fail_msg("%s", err.text);
    brisk_session_destroy(&s);
}

static void check_text(size_t i, const expected *x) {
    assert_true(outcomes[i].done);
    assert_int_equal(outcomes[i].status, 0);
    assert_int_equal(outcomes[i].len, x->len);
    assert_memory_equal(outcomes[i].text, x->text, x->len);
}

/* Requests of many lengths and temperatures. */
static brisk_request varied(size_t i) {
    brisk_request r = request_of(prompt, 1 + i * 37 % n_prompt, 5 + (int)(i * 7 % 40));
    if (i % 3 == 1) {
        r.sampling.temperature = 0.9f;
        r.sampling.seed = i;
    }
    if (i % 3 == 2) r.sampling.repeat_penalty = 1.3f;
    r.tenant = i % 4;
    return r;
}

static void check_varied(size_t n) {
    for (size_t i = 0; i < n; i++) {
        expected x;
        brisk_request r = varied(i);
        generate(&r, &x);
        check_text(i, &x);
        assert_int_equal(outcomes[i].finish, BRISK_FINISH_LENGTH);
        assert_int_equal(outcomes[i].n_tokens, r.max_tokens);
        assert_int_equal(outcomes[i].stats.generated_tokens, r.max_tokens);
    }
}

static void run_varied(const brisk_engine_options *options, brisk_engine_stats *stats) {
    brisk_engine *engine = open_engine(options);
    for (size_t i = 0; i < 24; i++) submit(engine, varied(i), i);
    drain(engine, 24);
    brisk_engine_get_stats(engine, stats);
    brisk_engine_destroy(&engine);
    assert_null(engine);
}

static void test_varied(void **state) {
    (void)state;
    brisk_engine_stats stats;
    run_varied(NULL, &stats);
    check_varied(24);
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.waiting, 0);
    brisk_engine_options few = {.max_running = 3, .batch_size = 16, .no_prefix_cache = true};
    run_varied(&few, &stats);
    check_varied(24);
    assert_int_equal(stats.cached_tokens, 0);
    assert_int_equal(stats.memory.kv_used, 0);
}

/* Contexts of 400 tokens, and memory for so many together. */
static brisk_engine_options room_for(uint64_t tokens) {
    brisk_engine *probe = open_engine(NULL);
    brisk_engine_stats stats;
    brisk_engine_get_stats(probe, &stats);
    brisk_engine_destroy(&probe);
    const brisk_engine_memory *m = &stats.memory;
    return (brisk_engine_options){.context = 400,
                                  .mem_limit = m->weights + m->scratch + tokens * m->kv_per_token};
}

/* Room for little more than one context: sequences give way and go on with the same text. */
static void test_preemption(void **state) {
    (void)state;
    brisk_engine_options tight = room_for(640);
    brisk_engine_stats stats;
    brisk_request r[4];
    expected x[4];
    for (size_t i = 0; i < 4; i++) {
        r[i] = request_of(prompt, 10 + i, 380);
        r[i].sampling.temperature = 0.7f;
        r[i].sampling.seed = i;
        generate(&r[i], &x[i]);
    }
    brisk_engine *engine = open_engine(&tight);
    for (size_t i = 0; i < 4; i++) submit(engine, r[i], i);
    drain(engine, 4);
    brisk_engine_get_stats(engine, &stats);
    brisk_engine_destroy(&engine);
    for (size_t i = 0; i < 4; i++) check_text(i, &x[i]);
    assert_true(stats.memory.kv_used <= stats.memory.kv_limit);
    assert_true(stats.preemptions > 0);
}

/* Short ones that come while long ones have outgrown what was kept for them: they start when there is
 * room and then stay, rather than being let in and thrown out again at every step. */
static void test_no_thrashing(void **state) {
    (void)state;
    brisk_engine_options tight = room_for(640);
    brisk_engine_stats stats;
    brisk_engine *engine = open_engine(&tight);
    for (size_t i = 0; i < 2; i++) {
        brisk_request r = request_of(prompt + i, 20, 380);
        r.priority = 1;
        submit(engine, r, i);
    }
    brisk_event e;
    while (outcomes[0].n_tokens < 270 && outcomes[1].n_tokens < 270) wait_event(engine, &e);
    for (size_t i = 2; i < 40; i++) submit(engine, request_of(prompt + 3 * i, 15, 14), i);
    drain(engine, 40);
    brisk_engine_get_stats(engine, &stats);
    brisk_engine_destroy(&engine);
    size_t most = 0;
    for (size_t i = 2; i < 40; i++) {
        expected x;
        brisk_request r = request_of(prompt + 3 * i, 15, 14);
        generate(&r, &x);
        check_text(i, &x);
        most = outcomes[i].stats.preemptions > most ? outcomes[i].stats.preemptions : most;
    }
    print_message("%d preemptions, at most %d of one\n", (int)stats.preemptions, (int)most);
    assert_true(most <= 2);
}

/* Equal requests at once are computed once, and all get the text of one alone. */
static void test_equal_requests(void **state) {
    (void)state;
    brisk_engine *engine = open_engine(NULL);
    brisk_request r = request_of(prompt, n_prompt, 30);
    expected x;
    generate(&r, &x);
    for (size_t i = 0; i < 32; i++) submit(engine, r, i);
    drain(engine, 32);
    for (size_t i = 0; i < 32; i++) check_text(i, &x);
    brisk_engine_stats stats;
    brisk_engine_get_stats(engine, &stats);
    assert_true(stats.cached_tokens >= 31 * (n_prompt - n_prompt % 64));
    brisk_engine_destroy(&engine);
}

static void test_cache(void **state) {
    (void)state;
    brisk_engine *engine = open_engine(NULL);
    brisk_request r = request_of(prompt, n_prompt, 10), cold = r, other = r;
    expected x;
    generate(&r, &x);
    submit(engine, r, 0);
    drain(engine, 1);
    assert_int_equal(outcomes[0].stats.cached_tokens, 0);
    submit(engine, r, 1);
    cold.no_cache = true;
    submit(engine, cold, 2);
    other.tenant = 99;
    submit(engine, other, 3);
    brisk_request space = r;
    space.cache_space = 77;
    submit(engine, space, 4);
    drain(engine, 5);
    for (size_t i = 0; i < 5; i++) check_text(i, &x);
    assert_int_equal(outcomes[4].stats.cached_tokens, 0);
    assert_int_equal(outcomes[1].stats.cached_tokens, n_prompt - 1);
    assert_int_equal(outcomes[2].stats.cached_tokens, 0);
    assert_int_equal(outcomes[3].stats.cached_tokens, 0);
    /* A second turn: the answer is known as well, but for a fast model as something else than a prompt. */
    brisk_token turn[600];
    memcpy(turn, prompt, n_prompt * sizeof *turn);
    memcpy(turn + n_prompt, outcomes[1].tokens, 9 * sizeof *turn);
    memcpy(turn + n_prompt + 9, prompt, 20 * sizeof *turn);
    brisk_request second = request_of(turn, n_prompt + 29, 10);
    generate(&second, &x);
    submit(engine, second, 5);
    drain(engine, 6);
    check_text(5, &x);
    assert_int_equal(outcomes[5].stats.cached_tokens, n_prompt + (fast ? 0 : 9));
    brisk_engine_destroy(&engine);
}

/* The small model is quick, and an answer may be complete before the cancelling arrives. Whether all
 * three were in time. */
static bool cancel_three(void) {
    brisk_engine_options one = {.max_running = 1};
    brisk_engine *engine = open_engine(&one);
    brisk_request r = request_of(prompt, n_prompt, 1500);
    brisk_event e;
    for (size_t i = 0; i < 3; i++) submit(engine, r, i);
    do wait_event(engine, &e);
    while (e.kind != BRISK_EVENT_TOKEN);
    brisk_engine_cancel(engine, outcomes[2].id); /* waiting */
    brisk_engine_cancel(engine, outcomes[0].id); /* answering */
    brisk_engine_cancel(engine, 12345);
    while (!outcomes[1].started) wait_event(engine, &e);
    brisk_engine_cancel(engine, outcomes[1].id); /* computing its prompt, or just beyond */
    drain(engine, 3);
    brisk_engine_stats stats;
    brisk_engine_get_stats(engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    brisk_engine_destroy(&engine);
    bool all = true;
    for (size_t i = 0; i < 3; i++) all &= outcomes[i].finish == BRISK_FINISH_CANCELLED;
    return all && outcomes[2].n_tokens == 0;
}

static void test_cancel(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++)
        if (cancel_three()) return;
    fail_msg("no request was cancelled in time in 50 runs");
}

static void test_ends(void **state) {
    (void)state;
    brisk_engine *engine = open_engine(NULL);
    brisk_request plain = request_of(prompt, 60, 40), r = plain;
    expected x;
    generate(&plain, &x);
    x.text[x.len] = '\0';
    char stop[4] = {x.text[x.len / 2], x.text[x.len / 2 + 1], x.text[x.len / 2 + 2], 0};
    const char *stops[] = {"never in it", stop};
    r.stop = stops, r.n_stop = 2;
    submit(engine, plain, 0);
    submit(engine, r, 1);
    drain(engine, 2);
    check_text(0, &x);
    size_t at = (size_t)(strstr(x.text, stop) - x.text);
    assert_int_equal(outcomes[1].finish, BRISK_FINISH_STOP);
    assert_string_equal(outcomes[1].stop, stop);
    assert_int_equal(outcomes[1].len, at);
    r.n_stop = 0;
    r.stop_tokens = &outcomes[0].tokens[20], r.n_stop_tokens = 1;
    submit(engine, r, 2);
    r.min_tokens = 30; /* now the token cannot be chosen, until then */
    submit(engine, r, 3);
    r.n_stop_tokens = 0;
    r.min_tokens = 0;
    r.allowed = outcomes[0].tokens, r.n_allowed = 5;
    submit(engine, r, 4);
    r.n_allowed = 0;
    r.max_tokens = 0;
    submit(engine, r, 5);
    drain(engine, 6);
    assert_int_equal(outcomes[2].finish, BRISK_FINISH_STOP);
    assert_true(outcomes[2].n_tokens <= 20);
    assert_true(outcomes[3].n_tokens >= 30);
    for (size_t i = 0; i < 30; i++)
        assert_int_not_equal(outcomes[3].tokens[i], outcomes[0].tokens[20]);
    for (size_t i = 0; i < outcomes[4].n_tokens; i++) {
        bool found = false;
        for (size_t k = 0; k < 5; k++) found |= outcomes[4].tokens[i] == outcomes[0].tokens[k];
        assert_true(found);
    }
    assert_int_equal(outcomes[5].n_tokens, 0);
    assert_int_equal(outcomes[5].finish, BRISK_FINISH_LENGTH);
    brisk_engine_destroy(&engine);
}

/* A text that the answer probably has makes it faster and changes nothing: the answer itself, the same
 * with a piece missing, one that has nothing to do with it; greedy, sampled, with penalties, to an end in
 * the middle of the guesses. */
static void test_prediction(void **state) {
    (void)state;
    brisk_engine *engine = open_engine(NULL);
    brisk_request r = request_of(prompt, 50, 120);
    expected x[3];
    brisk_request kinds[3] = {r, r, r};
    kinds[1].sampling.temperature = 0.8f;
    kinds[1].sampling.seed = 5;
    kinds[2].sampling.repeat_penalty = 1.2f;
    for (size_t k = 0; k < 3; k++) {
        generate(&kinds[k], &x[k]);
        submit(engine, kinds[k], k);
    }
    drain(engine, 3);
    brisk_token cut[3][100];
    for (size_t k = 0; k < 3; k++) {
        const brisk_token *answer = outcomes[k].tokens;
        memcpy(cut[k], answer, 40 * sizeof *answer);
        memcpy(cut[k] + 40, answer + 60, 60 * sizeof *answer);
        brisk_request whole = kinds[k], part = kinds[k], wrong = kinds[k], early = kinds[k];
        whole.prediction = answer, whole.n_prediction = 120;
        part.prediction = cut[k], part.n_prediction = 100;
        wrong.prediction = prompt, wrong.n_prediction = n_prompt;
        early.prediction = answer, early.n_prediction = 120;
        early.stop_tokens = &answer[33], early.n_stop_tokens = 1;
        submit(engine, whole, 3 + 4 * k);
        submit(engine, part, 4 + 4 * k);
        submit(engine, wrong, 5 + 4 * k);
        submit(engine, early, 6 + 4 * k);
    }
    drain(engine, 15);
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < 3; i++) check_text(3 + 4 * k + i, &x[k]);
        assert_true(outcomes[3 + 4 * k].stats.accepted_tokens > 60);
        assert_true(outcomes[4 + 4 * k].stats.accepted_tokens > 20);
        assert_int_equal(outcomes[6 + 4 * k].finish, BRISK_FINISH_STOP);
        const outcome *early = &outcomes[6 + 4 * k];
        assert_memory_equal(early->tokens, outcomes[k].tokens,
                            early->n_tokens * sizeof(brisk_token));
    }
    /* What the cache took of it is right: a turn that goes on after the end. */
    brisk_token turn[200];
    memcpy(turn, prompt, 50 * sizeof *turn);
    memcpy(turn + 50, outcomes[6].tokens, outcomes[6].n_tokens * sizeof *turn);
    memcpy(turn + 50 + outcomes[6].n_tokens, prompt, 20 * sizeof *turn);
    brisk_request second = request_of(turn, 70 + outcomes[6].n_tokens, 20);
    generate(&second, &x[0]);
    submit(engine, second, 15);
    drain(engine, 16);
    check_text(15, &x[0]);
    assert_true(outcomes[15].stats.cached_tokens >= 50 + (fast ? 0 : outcomes[6].n_tokens - 1));
    brisk_engine_destroy(&engine);
}

typedef struct score {
    const brisk_token *tokens;
    size_t n;
    double logprob[512];
} score;

static void score_row(size_t i, const float *logits, void *user) {
    score *s = user;
    double sum = 0;
    if (i + 1 >= s->n) return;
    for (int v = 0; v < info.n_vocab; v++) sum += exp((double)logits[v]);
    s->logprob[i + 1] = (double)logits[s->tokens[i + 1]] - log(sum);
}

static void test_prompt_logprobs(void **state) {
    (void)state;
    static score s;
    brisk_session *session = NULL;
    brisk_error err;
    s.tokens = prompt;
    s.n = n_prompt;
    if (brisk_session_create(model, NULL, &session, &err) ||
        brisk_session_eval_rows(session, prompt, n_prompt, score_row, &s, &err))
        fail_msg("%s", err.text);
    brisk_session_destroy(&session);
    brisk_engine *engine = open_engine(NULL);
    brisk_request r = request_of(prompt, n_prompt, 1);
    submit(engine, r, 0); /* what is cached must not matter */
    r.logprobs = 5;
    r.prompt_logprobs = true;
    submit(engine, r, 1);
    drain(engine, 2);
    assert_int_equal(outcomes[1].n_prompt_events, n_prompt);
    for (size_t i = 1; i < n_prompt; i++)
        assert_true(fabs((double)outcomes[1].prompt_logprobs[i] - s.logprob[i]) < 1e-4);
    brisk_engine_destroy(&engine);
}

static void test_embeddings(void **state) {
    (void)state;
    brisk_engine *engine = open_engine(NULL);
    brisk_request r = request_of(prompt, n_prompt, 1), answer = r;
    r.kind = BRISK_REQUEST_EMBED;
    submit(engine, r, 0);
    drain(engine, 1);
    answer.max_tokens = 100;
    for (size_t i = 1; i < 5; i++) submit(engine, answer, i); /* company */
    r.pooling = BRISK_POOLING_LAST;
    submit(engine, r, 5);
    r.pooling = BRISK_POOLING_MEAN;
    submit(engine, r, 6);
    submit(engine, r, 7);
    drain(engine, 8);
    assert_int_equal(outcomes[0].n_values, info.n_embd);
    assert_memory_equal(outcomes[0].values, outcomes[5].values,
                        (size_t)info.n_embd * sizeof(float));
    assert_memory_equal(outcomes[6].values, outcomes[7].values,
                        (size_t)info.n_embd * sizeof(float));
    assert_memory_not_equal(outcomes[0].values, outcomes[6].values, sizeof(float));
    for (size_t k = 0; k < 8; k += 6) {
        double sum = 0;
        for (int i = 0; i < info.n_embd; i++)
            sum += (double)outcomes[k].values[i] * (double)outcomes[k].values[i];
        assert_true(fabs(sum - 1) < 1e-5);
    }
    brisk_engine_destroy(&engine);
}

static void test_refusals(void **state) {
    (void)state;
    brisk_engine_options small = {.max_running = 1, .queue_max = 2, .context = 400};
    brisk_engine *engine = open_engine(&small);
    brisk_error err;
    uint64_t id;
    double retry;
    brisk_request r = request_of(prompt, 10, 350), bad = r;
    size_t n = 0;
    brisk_status st = 0;
    while (n < 5 && !(st = brisk_engine_submit(engine, &r, &outcomes[n].id, &retry, &err))) {
        n++;
        r.tag = n;
    }
    assert_int_equal(st, BRISK_ERR_LIMIT);
    assert_true(retry > 0);
    assert_true(n == 2 || n == 3); /* the first may have started */
    bad.n_tokens = 0;
    assert_int_equal(brisk_engine_submit(engine, &bad, &id, &retry, &err), BRISK_ERR_INVALID);
    bad = r;
    bad.n_tokens = 400;
    assert_int_equal(brisk_engine_submit(engine, &bad, &id, &retry, &err), BRISK_ERR_LIMIT);
    assert_true(retry == 0);
    assert_non_null(strstr(err.text, "400"));
    bad = r;
    brisk_token out = info.n_vocab;
    bad.tokens = &out, bad.n_tokens = 1;
    assert_int_equal(brisk_engine_submit(engine, &bad, &id, NULL, &err), BRISK_ERR_INVALID);
    bad = r;
    bad.sampling.temperature = -1;
    assert_int_equal(brisk_engine_submit(engine, &bad, &id, NULL, &err), BRISK_ERR_INVALID);
    const char *empty[] = {""};
    bad = r;
    bad.stop = empty, bad.n_stop = 1;
    assert_int_equal(brisk_engine_submit(engine, &bad, &id, NULL, &err), BRISK_ERR_INVALID);
    bad = r;
    bad.logprobs = 21;
    assert_int_equal(brisk_engine_submit(engine, &bad, &id, NULL, &err), BRISK_ERR_INVALID);
    drain(engine, n);
    brisk_engine_destroy(&engine);
    brisk_engine_options tiny = {.mem_limit = 1};
    assert_int_equal(brisk_engine_create(model, &tiny, &engine, &err), BRISK_ERR_LIMIT);
    assert_null(engine);
}

/* Destroyed while everything runs. */
static void test_destroy(void **state) {
    (void)state;
    brisk_engine *engine = open_engine(NULL);
    for (size_t i = 0; i < 40; i++) submit(engine, request_of(prompt, n_prompt, 1000), i);
    brisk_event e;
    wait_event(engine, &e);
    brisk_engine_destroy(&engine);
    assert_null(engine);
}

/* Three requests after one another, one allocation of all failing: a call says so, or one request ends
 * with that status; the others have their text. */
static int scenario(void) {
    brisk_engine *engine = NULL;
    brisk_error err;
    char texts[3][256] = {""};
    int failures = 0;
    if (open_model(NULL)) return SWEEP_FAILED_WELL;
    if (brisk_engine_create(model, NULL, &engine, &err)) {
        close_model(NULL);
        return err.code == BRISK_ERR_NOMEM ? SWEEP_FAILED_WELL : SWEEP_WRONG;
    }
    for (size_t i = 0; i < 3; i++) {
        const char *const stops[] = {"never in it"};
        brisk_request r = request_of(prompt, 40, 12);
        brisk_event e = {0};
        uint64_t id;
        r.stop = stops, r.n_stop = 1;
        r.logprobs = 3, r.prompt_logprobs = i == 1;
        r.min_tokens = 2;
        r.tag = i;
        if (brisk_engine_submit(engine, &r, &id, NULL, &err)) {
            failures++;
            if (err.code != BRISK_ERR_NOMEM) return SWEEP_WRONG;
            continue;
        }
        while (e.kind != BRISK_EVENT_DONE) {
            struct pollfd p = {.fd = brisk_engine_fd(engine), .events = POLLIN};
            if (!brisk_engine_poll(engine, &e)) {
                if (poll(&p, 1, 20000) != 1) return SWEEP_WRONG;
                continue;
            }
            if (e.request != id) return SWEEP_WRONG;
            size_t len = strlen(texts[i]);
            snprintf(texts[i] + len, sizeof texts[i] - len, "%s", e.text ? e.text : "");
        }
        if (e.status) {
            failures++;
            texts[i][0] = '\0';
            if (e.status != BRISK_ERR_NOMEM) return SWEEP_WRONG;
        }
    }
    brisk_engine_destroy(&engine);
    close_model(NULL);
    const char *text_of_one = texts[0][0] ? texts[0] : texts[1];
    for (size_t i = 0; i < 3; i++)
        if (texts[i][0] && strcmp(texts[i], text_of_one) != 0) return SWEEP_WRONG;
    return failures > 1 ? SWEEP_WRONG : failures ? SWEEP_FAILED_WELL : SWEEP_ALL_OK;
}

#ifdef BRISK_TESTING
/* Opening the model, which has a sweep of its own, is left out: this process has done it as well. */
static uint64_t opened;

static int count_opening(void **state) {
    uint64_t before = bk_alloc_count();
    if (open_model(state)) return -1;
    opened = bk_alloc_count() - before;
    return 0;
}

static void test_memory_runs_out(void **state) {
    (void)state;
    unsigned turns = 0;
    for (unsigned nth = (unsigned)opened + 1;; nth++, turns++) {
        int status = sweep_once("engine", nth);
        if (status == SWEEP_ALL_OK) break;
        if (status != SWEEP_FAILED_WELL) fail_msg("exit status %d at allocation %u", status, nth);
    }
    print_message("%u allocations\n", turns);
    assert_true(turns > 50);
}
#else
static int count_opening(void **state) { return open_model(state); }

static void test_memory_runs_out(void **state) {
    (void)state;
    assert_int_equal(sweep_once("engine", 0), SWEEP_ALL_OK);
}
#endif

int main(int argc, char **argv) {
    fast = getenv("BRISK_TEST_FAST") != NULL;
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varied),
        cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_no_thrashing),
        cmocka_unit_test(test_equal_requests),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_prompt_logprobs),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_destroy),
        cmocka_unit_test(test_memory_runs_out),
    };
    int failed = cmocka_run_group_tests(tests, count_opening, close_model);
    fast = true;
    setenv("BRISK_TEST_FAST", "1", 1); /* for the sweep's processes */
    return failed + cmocka_run_group_tests_name("fast", tests, count_opening, close_model);
}
