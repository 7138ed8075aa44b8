/* What a trace says of a pass: bytes and operations against figures computed by hand from the shapes of
 * small models, times against stamps set by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "fail_alloc.h"
#include "measure/profile.h"

static bk_error err;

typedef struct wanted {
    const char *what, *type; /* the first one */
    uint64_t calls, bytes, int8, int16;
} wanted;

static const bk_trace_row *row_of(const bk_trace *t, const wanted *w) {
    for (size_t i = 0; i < t->n_rows; i++) {
        const bk_quant *type = t->rows[i].types[0];
        if (strcmp(t->rows[i].what, w->what) == 0 && strcmp(type ? type->name : "", w->type) == 0)
            return &t->rows[i];
    }
    fail_msg("no row %s %s", w->what, w->type);
    return NULL;
}

static void compare(const bk_trace *t, const wanted *rows, size_t n) {
    assert_int_equal(t->n_rows, n);
    for (size_t i = 0; i < n; i++) {
        const bk_trace_row *r = row_of(t, &rows[i]);
        const uint64_t found[] = {r->calls, r->cost.bytes, r->cost.ops[BK_ARITH_INT8],
                                  r->cost.ops[BK_ARITH_INT16]};
        const uint64_t want[] = {rows[i].calls, rows[i].bytes, rows[i].int8, rows[i].int16};
        for (size_t k = 0; k < BK_ARRAY_LEN(want); k++)
            if (found[k] != want[k])
                fail_msg("%s, figure %zu: %llu found, %llu wanted", rows[i].what, k,
                         (unsigned long long)found[k], (unsigned long long)want[k]);
    }
}

static bk_profile run(const char *file, const bk_bench_test *test, int threads) {
    bk_model *m = NULL;
    bk_profile p;
    bk_model_options o = {.threads = threads};
    if (bk_model_load(file, &o, &m, &err) != BK_OK) fail_msg("%s", err.text);
    if (bk_profile_run(m, test, NULL, 0, &p, &err) != BK_OK) fail_msg("%s", err.text);
    bk_model_unref(&m);
    return p;
}

/* Times that hold for any run. */
static void plausible(const bk_profile_phase *p) {
    double elapsed = 0;
    for (size_t i = 0; i < p->trace->n_rows; i++) {
        const bk_trace_row *r = &p->trace->rows[i];
        assert_true(r->elapsed_ns > 0 && r->work_ns > 0);
        assert_true(r->work_ns <= r->elapsed_ns * (1 + 1e-9));
        elapsed += r->elapsed_ns;
    }
    assert_true(fabs(elapsed - p->trace->region_ns) < 1e-6 * elapsed);
    assert_true(p->total_ns > p->trace->region_ns);
}

/* Width 32, 8 query heads of 32, 2 of keys and values, feed-forward 256, 300 tokens, 2 layers. A group
 * is 16 rows: its scales, rounded up to 64 bytes, and per 32 values 4 lines of 64 bytes with nibbles, one
 * more for fifth bits, two for sixth bits, 8 with bytes. */
static void test_costs(void **state) {
    (void)state;
    enum {
        Q4 = 64 + 256,
        Q5_0 = 64 + 320,
        Q8_0 = 64 + 512,
        Q4_K = 320 + 8 * 256,
        Q6_K = 320 + 8 * 384
    };
    enum { QKV = (16 + 4) * Q4 + 4 * Q5_0, POSITION = 2 * 2 * (32 * 2 + 4) };
    bk_bench_test test = {.n_prompt = 5, .n_gen = 2, .n_seqs = 1, .batch = 8, .repetitions = 1};
    bk_profile p = run("tests/data/tiny_int.gguf", &test, 2);
    const wanted prefill[] = {
        {"embedding", "Q8_0", 1, 5 * Q8_0 / 16, 0, 0},
        {"qkv", "Q4_1", 2, 2 * QKV, 2 * 2 * 5 * 32 * (256 + 64 + 64), 0},
        {"attention", "", 2, 2 * 5 * POSITION, 0, 2 * 4 * (1 + 2 + 3 + 4 + 5) * 8 * 32},
        {"attention output", "Q4_K", 2, 2 * 2 * Q4_K, 2 * 2 * 5 * 256 * 32, 0},
        {"gate and up", "Q4_0", 2, 2 * 2 * 16 * Q4, 2 * 2 * 5 * 32 * 512, 0},
        {"down", "Q6_K", 2, 2 * 2 * Q6_K, 2 * 2 * 5 * 256 * 32, 0},
        {"head", "Q8_0", 1, 19 * Q8_0, 2 * 32 * 300, 0}};
    const wanted decode[] = {{"embedding", "Q8_0", 2, 2 * Q8_0 / 16, 0, 0},
                             {"qkv", "Q4_1", 4, 4 * QKV, 4 * 2 * 32 * (256 + 64 + 64), 0},
                             {"attention", "", 4, 2 * (6 + 7) * POSITION, 0,
                              2 * 4 * (6 + 7) * 8 * 32},
                             {"attention output", "Q4_K", 4, 4 * 2 * Q4_K, 4 * 2 * 256 * 32, 0},
                             {"gate and up", "Q4_0", 4, 4 * 2 * 16 * Q4, 4 * 2 * 32 * 512, 0},
                             {"down", "Q6_K", 4, 4 * 2 * Q6_K, 4 * 2 * 256 * 32, 0},
                             {"head", "Q8_0", 2, 2 * 19 * Q8_0, 2 * 2 * 32 * 300, 0}};
    compare(p.prefill.trace, prefill, BK_ARRAY_LEN(prefill));
    compare(p.decode.trace, decode, BK_ARRAY_LEN(decode));
    assert_int_equal(p.prefill.trace->lists, 1);
    assert_int_equal(p.decode.trace->lists, 2);
    assert_int_equal(p.prefill.tokens, 5);
    assert_int_equal(p.decode.tokens, 2);
    plausible(&p.prefill);
    plausible(&p.decode);
    bk_profile_free(&p);
}

/* One layer sees 70 positions, one all; 2 heads of 16 for keys and values, 4 for queries. The second
 * pass has rows 64 to 99 and sees what the first one left. */
static void test_window(void **state) {
    (void)state;
    enum { POSITION = 2 * 2 * (16 * 2 + 4), OPS = 4 * 4 * 16 };
    bk_bench_test test = {
        .n_prompt = 100, .n_gen = 1, .n_seqs = 1, .batch = 64, .repetitions = 2, .warm_up = true};
    bk_profile p = run("tests/data/tiny_gemma2.gguf", &test, 2);
    const wanted window = {"attention, window", "", 0, 0, 0, 0},
                 all = {"attention", "", 0, 0, 0, 0};
    const bk_trace_row *r = row_of(p.prefill.trace, &window);
    assert_int_equal(r->calls, 2 * 2);
    assert_int_equal(r->cost.bytes, 2 * (64 + 100) * POSITION);
    assert_int_equal(r->cost.ops[BK_ARITH_INT16], 2 * (70 * 71 / 2 + 30 * 70) * OPS);
    r = row_of(p.prefill.trace, &all);
    assert_int_equal(r->cost.ops[BK_ARITH_INT16], 2 * (100 * 101 / 2) * OPS);
    r = row_of(p.decode.trace, &window);
    assert_int_equal(r->cost.bytes, 2 * 70 * POSITION);
    assert_int_equal(r->cost.ops[BK_ARITH_INT16], 2 * 70 * OPS);
    r = row_of(p.decode.trace, &all);
    assert_int_equal(r->cost.bytes, 2 * 101 * POSITION);
    bk_profile_free(&p);
}

/* 6 experts of 32 x 32 matrices, 2 chosen: a token reads two, a pass those that any of its rows
 * chose. */
static void test_experts(void **state) {
    (void)state;
    enum { GATE_UP = 2 * 2 * (64 + 256), DOWN = 32 * 32 * 2, SLOT = 2 * 32 * 32 };
    bk_bench_test test = {.n_prompt = 20, .n_gen = 3, .n_seqs = 1, .batch = 20, .repetitions = 1};
    bk_profile p = run("tests/data/tiny_qwen3moe.gguf", &test, 2);
    const wanted up = {"experts, gate and up", "Q4_1", 0, 0, 0, 0};
    const wanted down = {"experts, down", "F16", 0, 0, 0, 0};
    const bk_trace_row *u = row_of(p.prefill.trace, &up), *d = row_of(p.prefill.trace, &down);
    uint64_t experts = u->cost.bytes / GATE_UP;
    assert_int_equal(u->cost.bytes, experts * GATE_UP);
    assert_int_equal(d->cost.bytes, experts * DOWN);
    assert_in_range(experts, 2 * 2, 2 * 6);
    assert_int_equal(u->cost.ops[BK_ARITH_INT8], 2 * 20 * 2 * 2 * SLOT);
    assert_int_equal(d->cost.ops[BK_ARITH_F32], 2 * 20 * 2 * SLOT);
    u = row_of(p.decode.trace, &up), d = row_of(p.decode.trace, &down);
    assert_int_equal(u->cost.bytes, 3 * 2 * 2 * GATE_UP);
    assert_int_equal(d->cost.bytes, 3 * 2 * 2 * DOWN);
    bk_profile_free(&p);
}

/* ---- Times -------------------------------------------------------------------------------------- */

static void stamp(bk_trace *t, int thread, size_t i, const uint64_t *at, uint32_t n) {
    bk_trace_command(t, thread, i);
    bk_trace_slot *s = t->threads[thread].now;
    s->n = n;
    for (uint32_t k = 0; k < n; k++) s->at[k] = t->begin + at[k];
}

static void test_times(void **state) {
    (void)state;
    bk_trace *t = NULL;
    assert_int_equal(bk_trace_create(2, &t, &err), BK_OK);
    const bk_cmd cmds[] = {{.op = BK_OP_SOFT_CAP, .what = "a"},
                           {.op = BK_OP_SOFT_CAP, .what = "b"}};
    assert_int_equal(bk_trace_begin(t, 2, &err), BK_OK);
    /* The second thread is late, prepares for 200, waits for 200, works for 400. */
    stamp(t, 0, 0, (const uint64_t[]){0, 1000}, 2);
    stamp(t, 1, 0, (const uint64_t[]){100, 300, 500, 900}, 4);
    stamp(t, 0, 1, (const uint64_t[]){2000, 2500}, 2);
    stamp(t, 1, 1, (const uint64_t[]){2100, 2700}, 2);
    while (bk_ticks() < t->begin + 4000) continue;
    bk_trace_end(t, cmds, 2);
    assert_int_equal(t->n_rows, 2);
    const bk_trace_row *a = &t->rows[0], *b = &t->rows[1];
    assert_string_equal(a->what, "a");
    double tick = a->elapsed_ns / 2000;
    assert_true(fabs(a->work_ns / tick - (1000 + 200 + 400) / 2) < 1e-3);
    assert_true(fabs(a->prepare_ns / tick - 200 / 2) < 1e-3);
    assert_true(fabs(b->work_ns / tick - (500 + 600) / 2) < 1e-3);
    assert_true(b->elapsed_ns / tick > 1999);
    assert_true(b->prepare_ns == 0);
    assert_true(fabs(t->region_ns - a->elapsed_ns - b->elapsed_ns) < 1e-3);
    bk_trace_clear(t);
    assert_int_equal(t->n_rows + t->lists + t->own_ns, 0);
    bk_trace_destroy(&t);
    assert_null(t);
}

/* More meetings than a slot has room for, more names than a trace has rows. */
static void test_full(void **state) {
    (void)state;
    enum { N = BK_TRACE_ROWS + 5 };
    bk_trace *t = NULL;
    char names[N][8];
    bk_cmd cmds[N];
    assert_int_equal(bk_trace_create(1, &t, &err), BK_OK);
    assert_int_equal(bk_trace_begin(t, N, &err), BK_OK);
    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "n%zu", i);
        cmds[i] = (bk_cmd){.op = BK_OP_SOFT_CAP, .what = names[i]};
        bk_trace_command(t, 0, i);
        for (int k = 0; k < 2 * BK_TRACE_STAMPS; k++) bk_trace_stamp(t, 0);
        bk_trace_done(t, 0, &cmds[i]);
        assert_int_equal(t->threads[0].now->n, BK_TRACE_STAMPS);
    }
    bk_trace_end(t, cmds, N);
    assert_int_equal(t->n_rows, BK_TRACE_ROWS);
    assert_string_equal(t->rows[BK_TRACE_ROWS - 1].what, "others");
    assert_int_equal(t->rows[BK_TRACE_ROWS - 1].calls, 6);
    bk_trace_destroy(&t);
}

static void test_roof(void **state) {
    (void)state;
    bk_roof roof = {.read = 1e9, .ops = {2e9, 1e9, 0.5e9}};
    bk_cost cost = {.bytes = 100, .ops = {100, 0, 10}};
    assert_true(fabs(bk_roof_ns(&roof, &cost) - 100) < 1e-9);
    cost.ops[BK_ARITH_INT16] = 50;
    assert_true(fabs(bk_roof_ns(&roof, &cost) - 120) < 1e-9);
}

/* ---- Failures ----------------------------------------------------------------------------------- */

/* Speed may be measured beyond the context of 512 tokens, in every copy of the sequence. */
static void test_past_the_context(void **state) {
    (void)state;
    bk_model *m = NULL;
    uint64_t ns = 0;
    bk_model_options o = {.threads = 2};
    assert_int_equal(bk_model_load("tests/data/tiny_int.gguf", &o, &m, &err), BK_OK);
    assert_int_equal(bk_model_config(m)->context_length, 512);
    bk_bench_test test = {.n_gen = 4, .n_seqs = 3, .n_depth = 600, .batch = 64, .repetitions = 1};
    if (bk_bench(m, &test, &ns, &err) != BK_OK) fail_msg("%s", err.text);
    assert_true(ns > 0);
    bk_model_unref(&m);
}

static void test_refused(void **state) {
    (void)state;
    bk_model *m = NULL;
    bk_profile p;
    bk_model_options o = {.threads = 1};
    assert_int_equal(bk_model_load("tests/data/tiny_int.gguf", &o, &m, &err), BK_OK);
    bk_bench_test test = {.n_prompt = 4, .n_gen = 1, .n_seqs = 1, .batch = 8, .repetitions = 1};
    const int32_t outside[] = {1, 2, 300};
    assert_int_equal(bk_profile_run(m, &test, outside, 3, &p, &err), BK_ERR_INVALID);
    bk_profile_free(&p);
    test.n_prompt = 1 << 25;
    assert_int_equal(bk_profile_run(m, &test, NULL, 0, &p, &err), BK_ERR_LIMIT);
    bk_profile_free(&p);
    volatile bool cancel = true;
    test.n_prompt = 4, test.cancel = &cancel;
    assert_int_equal(bk_profile_run(m, &test, NULL, 0, &p, &err), BK_ERR_CANCELLED);
    bk_profile_free(&p);
    bk_model_unref(&m);
}

static int scenario(void) {
    bk_model *m = NULL;
    bk_profile p = {0};
    bk_model_options o = {.threads = 2};
    bk_bench_test test = {.n_prompt = 4, .n_gen = 1, .n_seqs = 1, .batch = 8, .repetitions = 1};
    bk_status st = bk_model_load("tests/data/tiny_int.gguf", &o, &m, &err);
    if (!st) st = bk_profile_run(m, &test, NULL, 0, &p, &err);
    bk_profile_free(&p);
    bk_model_unref(&m);
    return st == BK_OK ? SWEEP_ALL_OK : st == BK_ERR_NOMEM ? SWEEP_FAILED_WELL : SWEEP_WRONG;
}

static void test_memory(void **state) {
    (void)state;
#ifdef BRISK_TESTING
    assert_true(sweep_all("profile", 1) > 40);
#else
    assert_int_equal(sweep_once("profile", 0), SWEEP_ALL_OK);
#endif
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_costs),   cmocka_unit_test(test_window),
        cmocka_unit_test(test_experts), cmocka_unit_test(test_times),
        cmocka_unit_test(test_full),    cmocka_unit_test(test_roof),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_past_the_context),
        cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
