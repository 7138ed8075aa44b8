/* Kernel checks: every kernel of every level that this CPU has against the portable one, by bits,
 * and the portable one against double.
 *
 *     check [--list] [--seed=N] [--level=NAME] [--test=PART] [--bench]
 *
 * A crash or a read past the end of an operand fails the test that did it, not the program. */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check.h"

enum { MAX_MESSAGES = 3 };

static const check_family *const families[] = {&check_packed_family, &check_matmul_family,
                                               &check_rows_family,   &check_attention_family,
                                               &check_nn_family,     &check_sparse_family};

typedef struct options {
    uint64_t seed;
    const char *level, *test;
    bool list, bench;
} options;

typedef struct level {
    const char *name;
    const bk_kernels *k;
} level;

void check_fail(check *c, const char *fmt, ...) {
    if (++c->failures > MAX_MESSAGES) return;
    va_list args;
    printf("  %s %s: ", c->level, c->test);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}

/* ---- Crashes -------------------------------------------------------------------------------------- */

static sigjmp_buf before_test;

static void on_signal(int sig) { siglongjmp(before_test, sig); }

static void catch_signals(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < BK_ARRAY_LEN(signals); i++) sigaction(signals[i], &action, NULL);
}

/* ---- Running --------------------------------------------------------------------------------------- */

static bool wanted(const char *filter, const char *name) {
    return filter == NULL || strstr(name, filter) != NULL;
}

/* Name and argument of run i of a test; false past its last. */
static bool nth_run(const check_test *t, size_t i, char name[64], int *arg) {
    const bk_quant *type = NULL;
    *arg = t->arg;
    if (t->arg == CHECK_EACH_TYPE) {
        type = check_type(i);
        *arg = (int)i;
        if (!type) return false;
    } else if (i > 0) {
        return false;
    }
    snprintf(name, 64, "%s%s", t->name, type ? type->name : "");
    return true;
}

static bool run_test(const check_test *t, const char *name, int arg, const level *l,
                     const options *o) {
    static check c; /* static: its fields are used after siglongjmp */
    c = (check){.k = l->k, .ref = bk_kernels_select(BK_CPU_REF), .level = l->name, .test = name};
    c.portable = c.k == c.ref;
    bk_rng_seed(&c.rng, o->seed, 1);
    int sig = sigsetjmp(before_test, 1);
    if (sig == 0)
        t->run(&c, arg);
    else
        check_fail(&c, "signal %d (%s)", sig, strsignal(sig));
    check_release();
    if (c.failures) printf("FAIL %s %s: %u differences\n", l->name, name, c.failures);
    return c.failures == 0;
}

/* The levels that exist here. Where both encodings of 256-bit VNNI run, the second is a level too. */
static size_t find_levels(level *out) {
    static bk_kernels twin;
    size_t n = 0;
    for (int i = 0; i < BK_CPU_LEVELS; i++) {
        const bk_kernels *k = bk_kernels_select((bk_cpu_level)i);
        if ((int)k->level == i) out[n++] = (level){bk_cpu_level_name((bk_cpu_level)i), k};
    }
#if defined(__x86_64__)
    if (bk_cpu_best() >= BK_CPU_AVX512 && bk_cpu_has_avxvnni_vex()) {
        twin = *bk_kernels_select(BK_CPU_AVX2);
        bk_kernels_init_avx512vnni256(&twin);
        out[n++] = (level){"avx512vnni256", &twin};
    }
#endif
    return n;
}

static void run_each(const check_test *t, const level *l, const options *o, size_t *good,
                     size_t *bad) {
    char name[64];
    int arg;
    for (size_t i = 0; nth_run(t, i, name, &arg); i++) {
        if (!wanted(o->test, name)) continue;
        if (run_test(t, name, arg, l, o))
            ++*good;
        else
            ++*bad;
    }
}

static int run_tests(const options *o, const level *levels, size_t n_levels) {
    size_t passed = 0, failed = 0;
    for (size_t l = 0; l < n_levels; l++) {
        size_t good = 0, bad = 0;
        uint64_t start = bk_now_ns();
        if (!wanted(o->level, levels[l].name)) continue;
        for (size_t f = 0; f < BK_ARRAY_LEN(families); f++)
            for (size_t i = 0; i < families[f]->n_tests; i++)
                run_each(&families[f]->tests[i], &levels[l], o, &good, &bad);
        printf("%-14s %zu passed, %zu failed, %.1f s\n", levels[l].name, good, bad,
               (double)(bk_now_ns() - start) * 1e-9);
        passed += good;
        failed += bad;
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

static void list_tests(const level *levels, size_t n_levels) {
    for (size_t l = 0; l < n_levels; l++) printf("level %s\n", levels[l].name);
    char name[64];
    int arg;
    for (size_t f = 0; f < BK_ARRAY_LEN(families); f++)
        for (size_t i = 0; i < families[f]->n_tests; i++)
            for (size_t r = 0; nth_run(&families[f]->tests[i], r, name, &arg); r++) puts(name);
}

static void run_benches(const options *o, const level *levels, size_t n_levels) {
    for (size_t f = 0; f < BK_ARRAY_LEN(families); f++) {
        for (size_t l = 0; l < n_levels; l++) {
            if (!families[f]->bench || !wanted(o->level, levels[l].name)) continue;
            if (!o->level && levels[l].k->level == BK_CPU_REF) continue; /* only when asked for */
            check c = {.k = levels[l].k, .ref = bk_kernels_select(BK_CPU_REF)};
            c.level = levels[l].name;
            c.test = "bench";
            bk_rng_seed(&c.rng, o->seed, 1);
            families[f]->bench(&c, o->test);
            check_release();
        }
    }
}

static bool parse(int argc, char **argv, options *o) {
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strncmp(a, "--seed=", 7) == 0)
            o->seed = strtoull(a + 7, NULL, 10);
        else if (strncmp(a, "--level=", 8) == 0)
            o->level = a + 8;
        else if (strncmp(a, "--test=", 7) == 0)
            o->test = a + 7;
        else if (strcmp(a, "--list") == 0)
            o->list = true;
        else if (strcmp(a, "--bench") == 0)
            o->bench = true;
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv) {
    options o = {.seed = bk_now_ns() % 1000000};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: check [--list] [--seed=N] [--level=NAME] [--test=PART] [--bench]\n");
        return 2;
    }
    level levels[BK_CPU_LEVELS + 1];
    size_t n = find_levels(levels);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (o.list) {
        list_tests(levels, n);
        return 0;
    }
    if (o.bench) {
        run_benches(&o, levels, n);
        return 0;
    }
    printf("seed %" PRIu64 "\n", o.seed);
    catch_signals();
    return run_tests(&o, levels, n);
}
