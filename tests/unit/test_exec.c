/* Forward passes: the bits of every logit depend on the tokens of its sequence alone. Not on the
 * threads, on how the prompt is cut, on the other rows of the pass, on the CPU level, nor on whether
 * the sequence was forked, cut back or carried over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "fail_alloc.h"
#include "model/model.h"

enum { N = 200, MAX_ROWS = 256 }; /* N tokens touch four pages */

static const char *const files[] = {
    "tests/data/tiny_int.gguf",    "tests/data/tiny_float.gguf", "tests/data/tiny_qwen3moe.gguf",
    "tests/data/tiny_int.gguf",    "tests/data/tiny_int.gguf",   "tests/data/tiny_qwen3moe.gguf",
    "tests/data/tiny_gemma2.gguf", "tests/data/tiny_lstm.gguf"};
static const char *const kv_types[] = {NULL, "q16", "f16", "q8_0", NULL, NULL, "q8_0", NULL};
static const bool fast[] = {false, false, false, false, true, true, false, false};
/* The last two have a window, of 70 positions in one layer and of 2 in all, so their sequences cannot go
 * back far. */
enum { FILES = BK_ARRAY_LEN(files), WINDOWED = FILES - 2, FAST = 4 };

/* Per file: what one pass over the first N tokens gives, two threads, the best level. */
static int32_t tokens[FILES][N];
static float *truth[FILES];
static size_t n_vocab[FILES];
static bk_error err;

static bk_model *load(int file, int threads, const char *level) {
    bk_model *m = NULL;
    bk_model_options o = {
        .threads = threads, .cpu_level = level, .kv_type = kv_types[file], .fast = fast[file]};
    if (bk_model_load(files[file], &o, &m, &err) != BK_OK) fail_msg("%s", err.text);
    return m;
}

static bk_exec *exec_of(bk_model *m) {
    bk_exec *x = NULL;
    assert_int_equal(bk_exec_create(m, MAX_ROWS, MAX_ROWS, &x, &err), BK_OK);
    return x;
}

static bk_kv *kv_of(bk_model *m) {
    bk_kv *kv = NULL;
    assert_int_equal(bk_model_new_kv(m, &kv, &err), BK_OK);
    return kv;
}

static float *rows_of(size_t vocab, size_t n) {
    float *p = bk_alloc_zero(n * vocab, sizeof *p);
    assert_non_null(p);
    return p;
}

/* Feeds n tokens in passes of at most `chunk`; logits of all, [n][vocab], unless NULL. */
static void feed(bk_exec *x, bk_kv *kv, const int32_t *t, size_t n, size_t chunk, float *logits,
                 size_t vocab) {
    for (size_t at = 0; at < n; at += chunk) {
        size_t count = bk_min_size(chunk, n - at);
        bk_rows r = {.kv = kv,
                     .tokens = t + at,
                     .n = count,
                     .n_logits = logits ? count : 0,
                     .logits = logits ? logits + at * vocab : NULL};
        if (bk_exec_forward(x, &r, 1, &err) != BK_OK) fail_msg("%s", err.text);
    }
}

/* The same bits; names the first row that differs. */
static void same_bits(const float *a, const float *b, size_t rows, size_t vocab, const char *what) {
    for (size_t r = 0; r < rows; r++) {
        if (memcmp(a + r * vocab, b + r * vocab, vocab * sizeof *a) == 0) continue;
        for (size_t i = 0; i < vocab; i++)
            if (memcmp(&a[r * vocab + i], &b[r * vocab + i], sizeof *a) != 0)
                fail_msg("%s: row %zu, logit %zu: %.9g and %.9g", what, r, i,
                         (double)a[r * vocab + i], (double)b[r * vocab + i]);
    }
}

static int compute_truth(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        bk_model *m = load(f, 2, NULL);
        n_vocab[f] = (size_t)bk_model_config(m)->n_vocab;
        bk_rng rng;
        bk_rng_seed(&rng, 7, (uint64_t)f);
        for (size_t i = 0; i < N; i++) tokens[f][i] = (int32_t)(bk_rng_u32(&rng) % n_vocab[f]);
        truth[f] = rows_of(n_vocab[f], N);
        bk_exec *x = exec_of(m);
        bk_kv *kv = kv_of(m);
        feed(x, kv, tokens[f], N, N, truth[f], n_vocab[f]);
        bk_kv_destroy(&kv);
        bk_exec_destroy(&x);
        bk_model_unref(&m);
    }
    return 0;
}

static int free_truth(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) bk_free(truth[f]);
    return 0;
}

/* A model with its scratch, for tests that need one configuration. */
typedef struct setup {
    int file;
    size_t vocab;
    bk_model *model;
    bk_exec *exec;
    float *out; /* [N][vocab] */
} setup;

static setup setup_of(int file, int threads, const char *level) {
    setup s = {.file = file, .vocab = n_vocab[file], .model = load(file, threads, level)};
    s.exec = exec_of(s.model);
    s.out = rows_of(s.vocab, N);
    return s;
}

static void setup_free(setup *s) {
    bk_free(s->out);
    bk_exec_destroy(&s->exec);
    bk_model_unref(&s->model);
}

/* The first n tokens into an empty sequence, all rows equal to the truth. */
static void computes_truth(const setup *s, bk_kv *kv, size_t n, size_t chunk, const char *what) {
    memset(s->out, 0, N * s->vocab * sizeof *s->out);
    feed(s->exec, kv, tokens[s->file], n, chunk, s->out, s->vocab);
    same_bits(s->out, truth[s->file], n, s->vocab, what);
}

/* Tokens [from, N) into a sequence that holds [0, from), all rows equal to the truth. */
static void goes_on(const setup *s, bk_kv *kv, size_t from, size_t chunk, const char *what) {
    assert_int_equal(bk_kv_len(kv), from);
    feed(s->exec, kv, tokens[s->file] + from, N - from, chunk, s->out, s->vocab);
    same_bits(s->out, truth[s->file] + from * s->vocab, N - from, s->vocab, what);
}

/* ---- Sanity: the logits are logits ------------------------------------------------------------------ */

static void logits_are_finite_and_differ(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        for (size_t i = 0; i < N * n_vocab[f]; i++) assert_true(isfinite(truth[f][i]));
        for (size_t r = 1; r < N; r++)
            assert_memory_not_equal(truth[f], truth[f] + r * n_vocab[f],
                                    n_vocab[f] * sizeof(float));
    }
}

/* ---- Threads, chunks, levels -------------------------------------------------------------------------- */

static void threads_and_chunks(void **state) {
    (void)state;
    const int threads[] = {1, 2, 4};
    const size_t chunks[] = {1, 7, 64, N};
    for (int f = 0; f < FILES; f++) {
        for (size_t t = 0; t < BK_ARRAY_LEN(threads); t++) {
            setup s = setup_of(f, threads[t], NULL);
            assert_int_equal(bk_model_get_meta(s.model)->threads, threads[t]);
            for (size_t c = 0; c < BK_ARRAY_LEN(chunks); c++) {
                bk_kv *kv = kv_of(s.model);
                char what[80];
                snprintf(what, sizeof what, "%s, %d threads, chunks of %zu", files[f], threads[t],
                         chunks[c]);
                computes_truth(&s, kv, N, chunks[c], what);
                bk_kv_destroy(&kv);
            }
            setup_free(&s);
        }
    }
}

static void cpu_levels(void **state) {
    (void)state;
    const size_t chunks[] = {N, 7, 1}, most[] = {N, N, 70};
    const size_t slow[] = {70, 24, 8}; /* the portable level is */
    for (int f = 0; f < FILES; f++) {
        for (int level = 0; level <= (int)bk_cpu_best(); level++) {
            const char *name = bk_cpu_level_name((bk_cpu_level)level);
            setup s = setup_of(f, 2, name);
            assert_int_equal(bk_model_get_meta(s.model)->cpu_level, level);
            for (size_t c = 0; c < BK_ARRAY_LEN(chunks); c++) {
                bk_kv *kv = kv_of(s.model);
                char what[80];
                snprintf(what, sizeof what, "%s, level %s, chunks of %zu", files[f], name,
                         chunks[c]);
                computes_truth(&s, kv, level == BK_CPU_REF ? slow[c] : most[c], chunks[c], what);
                bk_kv_destroy(&kv);
            }
            setup_free(&s);
        }
    }
}

/* ---- Other sequences in the same pass ------------------------------------------------------------------ */

enum { SEQUENCES = 7 };

/* A sequence of tokens [first, first + n) of the file's, so that only that with first = 0 can be
 * compared with the truth; the others are compared with passes of their own. */
typedef struct member {
    size_t first, n, done;
    bk_kv *kv;
    float *alone, *beside;
} member;

static void fill_members(const setup *s, member *all) {
    const size_t spans[SEQUENCES][2] = {{0, 200}, {3, 131}, {60, 64}, {100, 65},
                                        {7, 17},  {50, 1},  {20, 180}};
    for (size_t i = 0; i < SEQUENCES; i++) {
        member *m = &all[i];
        *m = (member){.first = spans[i][0], .n = spans[i][1]};
        m->alone = rows_of(s->vocab, m->n);
        m->beside = rows_of(s->vocab, m->n);
        bk_kv *kv = kv_of(s->model);
        feed(s->exec, kv, tokens[s->file] + m->first, m->n, m->n, m->alone, s->vocab);
        bk_kv_destroy(&kv);
        m->kv = kv_of(s->model);
    }
    same_bits(all[0].alone, truth[s->file], N, s->vocab, "the first sequence");
}

/* One pass: a random part of the sequences, decoding one token or taking a chunk. False when all are
 * done. */
static bool mixed_pass(const setup *s, member *all, bk_rng *rng) {
    bk_rows rows[SEQUENCES];
    size_t n = 0, left = MAX_ROWS;
    bool more = false;
    for (size_t k = 0, start = bk_rng_u32(rng); k < SEQUENCES; k++) {
        member *m = &all[(start + k) % SEQUENCES];
        if (m->done == m->n) continue;
        more = true;
        uint32_t what = bk_rng_u32(rng) % 4;
        size_t count = what == 0 ? 0 : what < 3 ? 1 : 1 + bk_rng_u32(rng) % 90;
        count = bk_min_size(count, bk_min_size(m->n - m->done, left));
        if (count == 0) continue;
        rows[n++] = (bk_rows){.kv = m->kv,
                              .tokens = tokens[s->file] + m->first + m->done,
                              .n = count,
                              .n_logits = count,
                              .logits = m->beside + m->done * s->vocab};
        m->done += count;
        left -= count;
    }
    if (n && bk_exec_forward(s->exec, rows, n, &err) != BK_OK) fail_msg("%s", err.text);
    return more;
}

static void beside_other_sequences(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        setup s = setup_of(f, 2, NULL);
        for (uint64_t round = 0; round < 2; round++) {
            member all[SEQUENCES];
            bk_rng rng;
            bk_rng_seed(&rng, 99, round);
            fill_members(&s, all);
            while (mixed_pass(&s, all, &rng)) {
            }
            for (size_t i = 0; i < SEQUENCES; i++) {
                assert_int_equal(bk_kv_len(all[i].kv), all[i].n);
                same_bits(all[i].beside, all[i].alone, all[i].n, s.vocab, "beside others");
                bk_free(all[i].alone);
                bk_free(all[i].beside);
                bk_kv_destroy(&all[i].kv);
            }
        }
        setup_free(&s);
    }
}

/* Logits wanted of some of the last rows, of different numbers per sequence. */
static void only_the_logits_asked_for(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        setup s = setup_of(f, 2, NULL);
        size_t vocab = s.vocab;
        bk_kv *kv[3] = {kv_of(s.model), kv_of(s.model), kv_of(s.model)};
        float *a = rows_of(vocab, 5), *b = rows_of(vocab, 1);
        bk_rows rows[3] = {
            {.kv = kv[0], .tokens = tokens[f], .n = 90, .n_logits = 5, .logits = a},
            {.kv = kv[1], .tokens = tokens[f], .n = 70},
            {.kv = kv[2], .tokens = tokens[f], .n = 33, .n_logits = 1, .logits = b},
        };
        assert_int_equal(bk_exec_forward(s.exec, rows, 3, &err), BK_OK);
        same_bits(a, truth[f] + 85 * vocab, 5, vocab, "five rows");
        same_bits(b, truth[f] + 32 * vocab, 1, vocab, "one row");
        rows[1] =
            (bk_rows){.kv = kv[1], .tokens = tokens[f] + 70, .n = 1, .n_logits = 1, .logits = b};
        assert_int_equal(bk_exec_forward(s.exec, &rows[1], 1, &err), BK_OK);
        same_bits(b, truth[f] + 70 * vocab, 1, vocab, "after rows without logits");
        bk_free(a);
        bk_free(b);
        for (int i = 0; i < 3; i++) bk_kv_destroy(&kv[i]);
        setup_free(&s);
    }
}

/* ---- States ------------------------------------------------------------------------------------------- */

/* Feeds n tokens in passes of at most `chunk`, beside a sequence that wants nothing; states of all. */
static void feed_states(const setup *s, const int32_t *t, size_t n, size_t chunk, float *hidden) {
    size_t embd = (size_t)bk_model_config(s->model)->n_out;
    bk_kv *kv = kv_of(s->model), *other = kv_of(s->model);
    for (size_t at = 0; at < n; at += chunk) {
        size_t count = bk_min_size(chunk, n - at);
        bk_rows r[2] = {{.kv = other, .tokens = t, .n = 1},
                        {.kv = kv,
                         .tokens = t + at,
                         .n = count,
                         .n_hidden = count,
                         .hidden = hidden + at * embd}};
        if (bk_exec_forward(s->exec, r, 2, &err) != BK_OK) fail_msg("%s", err.text);
    }
    bk_kv_destroy(&kv);
    bk_kv_destroy(&other);
}

static void states_have_the_same_bits(void **state) {
    (void)state;
    const size_t chunks[] = {N, 1, 7, 64};
    for (int f = 0; f < FILES; f++) {
        float *all = NULL;
        for (int t = 1; t <= 4; t *= 2) {
            setup s = setup_of(f, t, t == 4 ? "avx2" : NULL);
            size_t embd = (size_t)bk_model_config(s.model)->n_out;
            float *states = rows_of(embd, N);
            if (!all) feed_states(&s, tokens[f], N, N, all = rows_of(embd, N));
            for (size_t c = 0; c < BK_ARRAY_LEN(chunks); c++) {
                memset(states, 0, N * embd * sizeof *states);
                feed_states(&s, tokens[f], N, chunks[c], states);
                same_bits(states, all, N, embd, "states");
            }
            for (size_t i = 0; i < N * embd; i++) assert_true(isfinite(states[i]));
            bk_free(states);
            setup_free(&s);
        }
        bk_free(all);
    }
}

/* The last few of two sequences, with logits of one; the next pass is as it would be. */
static void only_the_states_asked_for(void **state) {
    (void)state;
    setup s = setup_of(WINDOWED, 2, NULL);
    size_t embd = (size_t)bk_model_config(s.model)->n_out;
    float *all = rows_of(embd, N), *some = rows_of(embd, 6);
    feed_states(&s, tokens[WINDOWED], N, N, all);
    bk_kv *kv[2] = {kv_of(s.model), kv_of(s.model)};
    const int32_t *t = tokens[WINDOWED];
    bk_rows rows[2] = {{.kv = kv[0], .tokens = t, .n = 90, .n_hidden = 5, .hidden = some},
                       {.kv = kv[1],
                        .tokens = t,
                        .n = 33,
                        .n_logits = 2,
                        .logits = s.out,
                        .n_hidden = 1,
                        .hidden = some + 5 * embd}};
    assert_int_equal(bk_exec_forward(s.exec, rows, 2, &err), BK_OK);
    same_bits(some, all + 85 * embd, 5, embd, "five states");
    same_bits(some + 5 * embd, all + 32 * embd, 1, embd, "one state");
    same_bits(s.out, truth[WINDOWED] + 31 * s.vocab, 2, s.vocab, "logits beside states");
    goes_on(&s, kv[0], 90, 50, "after states");
    rows[1].n_hidden = 34;
    assert_int_equal(bk_exec_forward(s.exec, rows, 2, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "34"));
    bk_free(all);
    bk_free(some);
    for (int i = 0; i < 2; i++) bk_kv_destroy(&kv[i]);
    setup_free(&s);
}

/* ---- Sequences that were forked, cut or carried ---------------------------------------------------------- */

/* Other tokens than those of the truth. */
static void goes_astray(const setup *s, bk_kv *kv, size_t n) {
    int32_t other[N];
    for (size_t i = 0; i < n; i++) other[i] = (tokens[s->file][i] + 11) % (int32_t)s->vocab;
    feed(s->exec, kv, other, n, n, NULL, s->vocab);
}

static const size_t cuts[] = {1, 60, 63, 64, 130, 199};

/* Two copies and the original write to positions that they would share if nothing were copied. */
static void after_a_fork(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        setup s = setup_of(f, 2, NULL);
        for (size_t c = 0; c < BK_ARRAY_LEN(cuts); c++) {
            size_t cut = cuts[c], some = bk_min_size(5, N - 1 - cut);
            bk_kv *kv = kv_of(s.model), *fork = NULL, *astray = NULL;
            computes_truth(&s, kv, cut, 50, "before the fork");
            assert_int_equal(bk_kv_fork(kv, &fork, &err), BK_OK);
            assert_int_equal(bk_kv_fork(kv, &astray, &err), BK_OK);
            if (some) feed(s.exec, fork, tokens[f] + cut, some, some, NULL, s.vocab);
            if (some) feed(s.exec, kv, tokens[f] + cut, some, 1, NULL, s.vocab);
            goes_astray(&s, astray, 40);
            goes_on(&s, fork, cut + some, 33, "the fork");
            goes_astray(&s, fork, 30);
            goes_on(&s, kv, cut + some, 80, "what was forked");
            bk_kv_destroy(&kv);
            bk_kv_destroy(&astray);
            bk_kv_destroy(&fork);
        }
        setup_free(&s);
    }
}

static void after_truncation(void **state) {
    (void)state;
    for (int f = 0; f < WINDOWED; f++) {
        setup s = setup_of(f, 2, NULL);
        bk_kv *kv = kv_of(s.model);
        for (size_t c = 0; c < BK_ARRAY_LEN(cuts); c++) {
            assert_int_equal(bk_kv_truncate(kv, 0, &err), BK_OK);
            computes_truth(&s, kv, cuts[c], N, "from nothing");
            goes_astray(&s, kv, 90);
            assert_int_equal(bk_kv_truncate(kv, cuts[c], &err), BK_OK);
            goes_on(&s, kv, cuts[c], 41, "after truncation");
        }
        bk_kv_destroy(&kv);
        setup_free(&s);
    }
}

/* Into a fresh sequence of another instance of the model, with other threads, at another level. */
static void after_export_and_import(void **state) {
    (void)state;
    for (int f = 0; f < WINDOWED; f++) {
        setup s = setup_of(f, 2, NULL), other = setup_of(f, 1, "avx2");
        for (size_t c = 0; c < BK_ARRAY_LEN(cuts); c++) {
            bk_kv *kv = kv_of(s.model), *copy = kv_of(other.model);
            bk_buf data = {0};
            computes_truth(&s, kv, cuts[c], 64, "before the export");
            assert_int_equal(bk_kv_export(kv, 0, cuts[c], &data, &err), BK_OK);
            assert_int_equal(bk_kv_import(copy, data.data, data.len, &err), BK_OK);
            bk_buf_free(&data);
            goes_on(&other, copy, cuts[c], 100, "the import");
            /* And back, from a page boundary on. */
            assert_int_equal(bk_kv_truncate(kv, 0, &err), BK_OK);
            computes_truth(&s, kv, 64, 64, "one page");
            assert_int_equal(bk_kv_export(copy, 64, 150, &data, &err), BK_OK);
            assert_int_equal(bk_kv_import(kv, data.data, data.len, &err), BK_OK);
            bk_buf_free(&data);
            goes_on(&s, kv, 150, 9, "the import back");
            bk_kv_destroy(&kv);
            bk_kv_destroy(&copy);
        }
        setup_free(&s);
        setup_free(&other);
    }
}

/* Pages that every window has left are given back; what still needs them is refused, and the sequence
 * goes on as it was. */
static void windows_give_pages_back(void **state) {
    (void)state;
    setup s = setup_of(WINDOWED, 2, NULL);
    bk_kv *kv = kv_of(s.model), *fresh = kv_of(s.model);
    computes_truth(&s, fresh, 64, 64, "one page");
    computes_truth(&s, kv, 180, 30, "three pages");
    /* One layer of two keeps all of its three pages, the other the last two. */
    size_t page = bk_kv_bytes(fresh) / 2;
    assert_int_equal(bk_kv_bytes(kv), 5 * page);
    assert_int_equal(bk_kv_truncate(kv, 100, &err), BK_ERR_LIMIT);
    bk_buf data = {0};
    assert_int_equal(bk_kv_export(kv, 0, 64, &data, &err), BK_ERR_LIMIT);
    bk_buf_free(&data);
    goes_on(&s, kv, 180, 7, "after refusals");
    goes_astray(&s, kv, 3);
    assert_int_equal(bk_kv_truncate(kv, N - 1, &err), BK_OK);
    goes_on(&s, kv, N - 1, 1, "back within the window");
    bk_kv_destroy(&kv);
    bk_kv_destroy(&fresh);
    setup_free(&s);
}

/* As far as guesses go, wherever the sequence stands. */
static void wrong_guesses_are_taken_back(void **state) {
    (void)state;
    for (int f = WINDOWED; f < FILES; f++) {
        setup s = setup_of(f, 2, NULL);
        bk_kv *kv = kv_of(s.model);
        for (size_t at = 0; at < N; at += 5) {
            feed(s.exec, kv, tokens[f] + at, 5, 5, s.out, s.vocab);
            same_bits(s.out, truth[f] + at * s.vocab, 5, s.vocab, "after wrong guesses");
            goes_astray(&s, kv, BK_KV_BACK);
            assert_int_equal(bk_kv_truncate(kv, at + 5, &err), BK_OK);
        }
        bk_kv_destroy(&kv);
        setup_free(&s);
    }
}

/* A sequence of an LSTM holds two pages at most, however long it is. */
static void old_states_are_given_back(void **state) {
    (void)state;
    setup s = setup_of(FILES - 1, 2, NULL);
    bk_kv *kv = kv_of(s.model);
    size_t page = 2 * 64 * 2 * 64 * sizeof(float); /* layers, positions, h and c of 64 units */
    for (size_t at = 0; at < N; at++) {
        feed(s.exec, kv, tokens[FILES - 1] + at, 1, 1, NULL, s.vocab);
        assert_true(bk_kv_bytes(kv) == page || (at % 64 <= 17 && bk_kv_bytes(kv) == 2 * page));
    }
    assert_int_equal(bk_kv_truncate(kv, 100, &err), BK_ERR_LIMIT);
    bk_kv_destroy(&kv);
    setup_free(&s);
}

/* ---- Allocation ------------------------------------------------------------------------------------------ */

static void decoding_allocates_pages_only(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        setup s = setup_of(f, 2, NULL);
        bk_kv *kv = kv_of(s.model);
        computes_truth(&s, kv, 70, N, "the prompt");
        feed(s.exec, kv, tokens[f] + 70, 1, 1, s.out, s.vocab);
        uint64_t before = bk_alloc_count();
        feed(s.exec, kv, tokens[f] + 71, 32, 1, s.out, s.vocab);
        assert_int_equal(bk_alloc_count() - before, 0);
        /* Up to 200: positions 128 and 192 begin a page (two blocks each); the table of pages may
         * grow once (two blocks). */
        feed(s.exec, kv, tokens[f] + 103, 97, 1, s.out, s.vocab);
        size_t groups = f == WINDOWED ? 2 : 1;
        assert_true(bk_alloc_count() - before <= 6 * groups);
        /* Prefill of a size that was there before. */
        bk_kv *again = kv_of(s.model);
        before = bk_alloc_count();
        feed(s.exec, again, tokens[f], 64, 64, s.out, s.vocab);
        assert_true(bk_alloc_count() - before <= 4 * groups);
        bk_kv_destroy(&again);
        bk_kv_destroy(&kv);
        setup_free(&s);
    }
}

/* ---- Errors ---------------------------------------------------------------------------------------------- */

/* After each refusal the sequences are as they were and the next pass gives the right bits. */
static void wrong_requests_are_refused(void **state) {
    (void)state;
    setup s = setup_of(0, 2, NULL);
    bk_kv *kv = kv_of(s.model), *other = kv_of(s.model);
    computes_truth(&s, kv, 10, N, "ten tokens");
    size_t bytes = bk_kv_bytes(kv);
    int32_t bad[3] = {1, -1, 2}, beyond[2] = {5, (int32_t)s.vocab}, fine[300] = {0};
    struct {
        bk_rows rows[2];
        size_t n;
        bk_status status;
        const char *text;
    } cases[] = {
        {{{.kv = kv, .tokens = bad, .n = 3}}, 1, BK_ERR_INVALID, "token -1 found, 0 to 299 wanted"},
        {{{.kv = kv, .tokens = beyond, .n = 2}}, 1, BK_ERR_INVALID, "token 300 found"},
        {{{.kv = kv, .tokens = fine, .n = 2}, {.kv = other, .tokens = bad, .n = 2}},
         2,
         BK_ERR_INVALID,
         "token -1"},
        {{{.kv = kv, .tokens = fine, .n = MAX_ROWS + 1}}, 1, BK_ERR_LIMIT, "256"},
        {{{.kv = kv, .tokens = fine, .n = 200}, {.kv = other, .tokens = fine, .n = 57}},
         2,
         BK_ERR_LIMIT,
         "256"},
        {{{.kv = kv, .tokens = fine, .n = 0}}, 1, BK_ERR_LIMIT, "empty"},
        {{{.kv = kv, .tokens = fine, .n = 2, .n_logits = 3, .logits = s.out}},
         1,
         BK_ERR_LIMIT,
         "logits"},
        {{{.kv = kv, .tokens = fine, .n = SIZE_MAX}}, 1, BK_ERR_LIMIT, "256"},
        {{{.kv = NULL}}, 0, BK_ERR_INVALID, "empty"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        err = (bk_error){0};
        assert_int_equal(bk_exec_forward(s.exec, cases[i].rows, cases[i].n, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_int_equal(bk_kv_len(kv), 10);
        assert_int_equal(bk_kv_len(other), 0);
        assert_int_equal(bk_kv_bytes(kv), bytes);
        assert_int_equal(bk_kv_bytes(other), 0);
    }
    goes_on(&s, kv, 10, N, "after refusals");
    bk_kv_destroy(&kv);
    bk_kv_destroy(&other);
    setup_free(&s);
}

/* Chosen tokens have the bits of a model that is not fast; prompts are near them. */
static void chosen_tokens_are_exact(void **state) {
    (void)state;
    setup s = setup_of(FAST, 2, NULL);
    bk_kv *kv = kv_of(s.model), *other = kv_of(s.model);
    bk_rows r = {.kv = kv, .tokens = tokens[0], .n = N, .n_logits = N, .logits = s.out};
    r.exact = true;
    assert_int_equal(bk_exec_forward(s.exec, &r, 1, &err), BK_OK);
    same_bits(s.out, truth[0], N, s.vocab, "chosen tokens of a fast model");

    bk_rows both[2] = {{.kv = kv, .tokens = tokens[0], .n = 1, .exact = true},
                       {.kv = other, .tokens = tokens[0], .n = 1}};
    assert_int_equal(bk_exec_forward(s.exec, both, 2, &err), BK_ERR_INVALID);
    assert_int_equal(bk_kv_len(kv), N);

    feed(s.exec, other, tokens[0], N, N, s.out, s.vocab);
    double error = 0, size = 0;
    for (size_t i = 0; i < N * s.vocab; i++) {
        double x = (double)truth[0][i], d = (double)s.out[i] - x;
        error += d * d;
        size += x * x;
    }
    assert_true(error > 0);
    assert_true(error < 0.01 * size);
    bk_kv_destroy(&kv);
    bk_kv_destroy(&other);
    setup_free(&s);
}

static void a_full_context_is_refused(void **state) {
    (void)state;
    setup s = setup_of(0, 2, NULL);
    size_t most = (size_t)bk_model_config(s.model)->context_length;
    assert_int_equal(most, 512);
    bk_kv *kv = kv_of(s.model), *other = kv_of(s.model);
    computes_truth(&s, kv, N, N, "the first tokens");
    feed(s.exec, kv, tokens[0], N, N, NULL, s.vocab);
    size_t bytes = bk_kv_bytes(kv);
    /* The other sequence comes first and has its room already when the full one is refused. */
    bk_rows rows[2] = {{.kv = other, .tokens = tokens[0], .n = 100},
                       {.kv = kv, .tokens = tokens[0], .n = 113}};
    assert_int_equal(bk_exec_forward(s.exec, rows, 2, &err), BK_ERR_LIMIT);
    assert_non_null(strstr(err.text, "400"));
    assert_non_null(strstr(err.text, "512"));
    assert_int_equal(bk_kv_len(kv), 400);
    assert_int_equal(bk_kv_bytes(kv), bytes);
    assert_int_equal(bk_kv_len(other), 0);
    assert_int_equal(bk_kv_bytes(other), 0);
    /* All of the context can be used. */
    rows[1].n = 112;
    assert_int_equal(bk_exec_forward(s.exec, rows, 2, &err), BK_OK);
    assert_int_equal(bk_kv_len(kv), 512);
    rows[1].n = 1;
    assert_int_equal(bk_exec_forward(s.exec, &rows[1], 1, &err), BK_ERR_LIMIT);
    assert_int_equal(bk_kv_truncate(kv, N, &err), BK_OK);
    assert_int_equal(bk_kv_truncate(kv, 50, &err), BK_OK);
    goes_on(&s, kv, 50, N, "after a full context");
    goes_on(&s, other, 100, N, "beside a full context");
    bk_kv_destroy(&kv);
    bk_kv_destroy(&other);
    setup_free(&s);
}

static void wrong_scratch_is_refused(void **state) {
    (void)state;
    bk_model *m = load(0, 1, NULL);
    const size_t wrong[][2] = {{0, 0}, {4, 5}, {(1 << 20) + 1, 1}, {SIZE_MAX, SIZE_MAX}};
    for (size_t i = 0; i < BK_ARRAY_LEN(wrong); i++) {
        bk_exec *x = (bk_exec *)&err;
        assert_int_equal(bk_exec_create(m, wrong[i][0], wrong[i][1], &x, &err), BK_ERR_INVALID);
        assert_null(x);
    }
    bk_exec *x = NULL;
    assert_int_equal(bk_exec_create(m, 8, 0, &x, &err), BK_OK); /* passes without logits */
    bk_kv *kv = kv_of(m);
    feed(x, kv, tokens[0], 20, 8, NULL, n_vocab[0]);
    assert_int_equal(bk_kv_pool_bytes(bk_model_kv_pool(m)), bk_kv_bytes(kv));
    bk_rows r = {.kv = kv, .tokens = tokens[0], .n = 1, .n_logits = 1, .logits = truth[0]};
    assert_int_equal(bk_exec_forward(x, &r, 1, &err), BK_ERR_LIMIT);
    bk_kv_destroy(&kv);
    bk_exec_destroy(&x);
    assert_null(x);
    bk_exec_destroy(&x);
    bk_model_unref(&m);

    bk_model_options vocabulary = {.vocab_only = true};
    assert_int_equal(bk_model_load(files[0], &vocabulary, &m, &err), BK_OK);
    assert_int_equal(bk_exec_create(m, 8, 1, &x, &err), BK_ERR_INVALID);
    assert_int_equal(bk_model_new_kv(m, &kv, &err), BK_ERR_INVALID);
    assert_null(bk_model_kv_pool(m));
    bk_model_unref(&m);
    bk_model_options level = {.cpu_level = "sse9"}, many = {.threads = 1000};
    assert_int_equal(bk_model_load(files[0], &level, &m, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "sse9"));
    assert_int_equal(bk_model_load(files[0], &many, &m, &err), BK_ERR_INVALID);
    bk_model_options type = {.kv_type = "q4_0"};
    assert_int_equal(bk_model_load(files[0], &type, &m, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "q8_0"));
    assert_null(m);
}

/* ---- Memory running out ------------------------------------------------------------------------------------ */

/* All turns where leaks are looked for, some where a turn takes long. */
#ifdef __SANITIZE_ADDRESS__
#define SWEEP_STEP 1
#else
#define SWEEP_STEP 7
#endif

/* Two sequences, passes and a fork; SWEEP_WRONG when a refused pass has changed a length. */
static int passes(bk_exec *x, bk_kv **kv, float *logits) {
    static const int32_t t[150] = {3, 1, 4, 1, 5};
    bk_rows rows[2] = {{.kv = kv[0], .tokens = t, .n = 80, .n_logits = 1, .logits = logits},
                       {.kv = kv[1], .tokens = t, .n = 70}};
    if (bk_exec_forward(x, rows, 2, &err) != BK_OK)
        return bk_kv_len(kv[0]) + bk_kv_len(kv[1]) ? SWEEP_WRONG : SWEEP_FAILED_WELL;
    if (bk_kv_fork(kv[0], &kv[2], &err) != BK_OK) return SWEEP_FAILED_WELL;
    rows[0].n = 1;
    rows[1] = (bk_rows){.kv = kv[2], .tokens = t, .n = 150};
    if (bk_exec_forward(x, rows, 2, &err) != BK_OK)
        return bk_kv_len(kv[0]) + bk_kv_len(kv[2]) == 160 ? SWEEP_FAILED_WELL : SWEEP_WRONG;
    return SWEEP_ALL_OK;
}

static int scenario(void) {
    bk_model *m = NULL;
    bk_exec *x = NULL;
    bk_kv *kv[3] = {0};
    float logits[300];
    int result = SWEEP_FAILED_WELL;
    bk_model_options o = {.threads = 2};
    if (bk_model_load(files[0], &o, &m, &err) == BK_OK &&
        bk_exec_create(m, 256, 1, &x, &err) == BK_OK && bk_model_new_kv(m, &kv[0], &err) == BK_OK &&
        bk_model_new_kv(m, &kv[1], &err) == BK_OK)
        result = passes(x, kv, logits);
    if (result == SWEEP_FAILED_WELL && (err.code != BK_ERR_NOMEM || !*err.text)) {
        fprintf(stderr, "error %d: %s\n", err.code, err.text);
        result = SWEEP_WRONG;
    }
    for (int i = 0; i < 3; i++) bk_kv_destroy(&kv[i]);
    bk_exec_destroy(&x);
    bk_model_unref(&m);
    return result;
}

#ifdef BRISK_TESTING
static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    assert_true(sweep_all("exec", SWEEP_STEP) > 40 / SWEEP_STEP);
}
#else
static void the_scenario_of_failures_succeeds_without(void **state) {
    (void)state;
    assert_int_equal(sweep_once("exec", 0), SWEEP_ALL_OK);
}
#endif

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_finite_and_differ),
        cmocka_unit_test(threads_and_chunks),
        cmocka_unit_test(cpu_levels),
        cmocka_unit_test(beside_other_sequences),
        cmocka_unit_test(only_the_logits_asked_for),
        cmocka_unit_test(states_have_the_same_bits),
        cmocka_unit_test(only_the_states_asked_for),
        cmocka_unit_test(after_a_fork),
        cmocka_unit_test(after_truncation),
        cmocka_unit_test(after_export_and_import),
        cmocka_unit_test(windows_give_pages_back),
        cmocka_unit_test(wrong_guesses_are_taken_back),
        cmocka_unit_test(old_states_are_given_back),
        cmocka_unit_test(decoding_allocates_pages_only),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(chosen_tokens_are_exact),
        cmocka_unit_test(a_full_context_is_refused),
        cmocka_unit_test(wrong_scratch_is_refused),
#ifdef BRISK_TESTING
        cmocka_unit_test(memory_may_run_out_anywhere),
#else
        cmocka_unit_test(the_scenario_of_failures_succeeds_without),
#endif
    };
    return cmocka_run_group_tests(tests, compute_truth, free_truth);
}
