/* What the kernel checks share: memory that ends at a guard page, random operands with extreme
 * values, comparison by bits, timing. A check compares one kernel of one level with the portable
 * one; at the portable level itself it compares with double instead. */
#ifndef BRISK_TESTS_CHECK_H
#define BRISK_TESTS_CHECK_H

#include "base/rng.h"
#include "kernel/kernel.h"

typedef struct check {
    const bk_kernels *k, *ref; /* under test; portable */
    const char *level, *test;  /* for messages */
    bool portable;             /* k is the portable table: compare with double */
    bk_rng rng;
    unsigned failures;
} check;

enum { CHECK_EACH_TYPE = -1 };

typedef struct check_test {
    const char *name; /* "direct/" when there is one test for each type */
    void (*run)(check *c, int arg);
    int arg; /* CHECK_EACH_TYPE: run with the number of each type, for check_type */
} check_test;

/* One family of kernels. bench may be NULL; filter is a part of what it should print. */
typedef struct check_family {
    const check_test *tests;
    size_t n_tests;
    void (*bench)(check *c, const char *filter);
} check_family;

extern const check_family check_packed_family, check_matmul_family, check_rows_family,
    check_attention_family, check_nn_family, check_sparse_family;

/* Prints level, test and the message (the first few of a test). */
void check_fail(check *c, const char *fmt, ...) BK_PRINTF(2, 3);

/* Memory whose last byte lies just before an inaccessible page; 64-byte aligned when `bytes` is a
 * multiple of 64. Contents are a fixed pattern. Freed by check_release, all at once. */
void *check_mem(size_t bytes);
float *check_floats(size_t n);
void check_release(void);

/* ---- Random operands ---- */
unsigned check_below(check *c, unsigned n); /* 0 .. n - 1 */
float check_unit(check *c);                 /* -1 .. 1 */

/* What a row of floats is made of. The last kind alone holds infinities and NaN. */
typedef enum check_kind {
    CHECK_NORMAL,
    CHECK_ZERO,
    CHECK_OUTLIER, /* one value 1000 times the rest */
    CHECK_EQUAL,   /* one magnitude, random signs: ties */
    CHECK_SUBNORMAL,
    CHECK_HUGE,  /* near the largest float */
    CHECK_MIXED, /* magnitudes from 1e-30 to 1e30 */
    CHECK_NONFINITE,
    CHECK_KINDS
} check_kind;
void check_fill(check *c, check_kind kind, float *x, size_t n);

/* What blocks of weights are made of. The last kind alone holds infinities and NaN. */
typedef enum check_weights {
    CHECK_W_RANDOM, /* any quants, scales like a model's */
    CHECK_W_ONES,   /* all bits of all quants set */
    CHECK_W_ZEROS,  /* all clear */
    CHECK_W_HIGH,   /* bytes 0x80: -128 in Q8_0 */
    CHECK_W_SCALES, /* any finite half as scale */
    CHECK_W_BITS,   /* any bits at all */
    CHECK_WEIGHTS
} check_weights;
/* n_rows rows of k weights as in a file. */
uint8_t *check_blocks(check *c, check_weights kind, const bk_quant *type, size_t n_rows, size_t k);

/* Type i of the registry and then of the formats made up here (layouts and scales that no format of
 * the registry has); NULL past the last. */
const bk_quant *check_type(size_t i);

/* ---- Comparison ---- */

/* Equal bits, or both NaN. */
bool check_same(float a, float b);
/* True, or a failure naming the first difference. */
bool check_same_floats(check *c, const char *what, const float *got, const float *want, size_t n);
bool check_same_bytes(check *c, const char *what, const void *got, const void *want, size_t n);
/* |got - want| <= bound, all finite; index only for the message. */
bool check_near(check *c, const char *what, double got, double want, double bound, size_t index);

/* ---- Timing ---- */

/* Least nanoseconds of one call in repetitions that fill about 30 ms. */
double check_time(void (*run)(void *arg), void *arg);

#endif
