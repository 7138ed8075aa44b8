/* What this machine can do at most: how fast memory and caches are read, how fast the dot and FMA
 * instructions run, what a barrier costs, for 1, 2, 4, ... threads. The roofline of Williams, Waterman
 * and Patterson (2009), measured instead of looked up: a token cannot be decoded faster than its bytes
 * are read, a prompt not faster than its operations are done.
 *
 * Measured in seconds, kept in the user's cache folder, one file for each CPU and level. */
#ifndef BRISK_MEASURE_LIMITS_H
#define BRISK_MEASURE_LIMITS_H

#include "base/buf.h"
#include "base/error.h"
#include "sys/cpu.h"

enum {
    BK_LIMITS_VERSION = 1, /* of the file and of the way of measuring */
    BK_LIMITS_COUNTS = 10, /* thread counts: 1, 2, 4, ..., 256 and the one asked for */
    BK_LIMITS_SIZES = 8    /* buffers */
};

typedef struct bk_limits {
    char cpu[64]; /* its name, "" when unknown */
    bk_cpu_level level;
    int cpus;     /* hardware threads that the process could use */
    int64_t date; /* of the measurement, seconds since 1970 */
    int n_counts, n_sizes;
    int threads[BK_LIMITS_COUNTS];   /* ascending, the first is 1 */
    uint64_t bytes[BK_LIMITS_SIZES]; /* ascending; what all threads together read in one pass */
    /* Bytes per second over a buffer of that size, each thread its own part, again and again: the best
     * pass and the median. */
    double read[BK_LIMITS_COUNTS][BK_LIMITS_SIZES];
    double read_median[BK_LIMITS_COUNTS][BK_LIMITS_SIZES];
    /* Operations per second of all threads, a multiplication and its addition counted as two. */
    double int8[BK_LIMITS_COUNTS];        /* the level's 8-bit dot, operands in registers */
    double int8_memory[BK_LIMITS_COUNTS]; /* one operand broadcast from memory (L1) */
    double bf16[BK_LIMITS_COUNTS];        /* 0: no such instruction at this level */
    double f32[BK_LIMITS_COUNTS];
    double barrier[BK_LIMITS_COUNTS]; /* seconds for one bk_pool_barrier */
} bk_limits;

typedef struct bk_limits_watch {
    void (*progress)(double done, void *user); /* done in 0..1; may be NULL */
    void *user;
    const volatile bool *cancel; /* polled between short runs; may be NULL */
} bk_limits_watch;

/* Measures with 1, 2, 4, ... and max_threads threads (0: bk_cpu_default_threads()), in some seconds.
 * Buffers take at most a quarter of the memory that there is. watch may be NULL.
 * INVALID (threads, a level above the CPU's), NOMEM, CANCELLED. */
bk_status bk_limits_measure(bk_cpu_level level, int max_threads, const bk_limits_watch *watch,
                            bk_limits *out, bk_error *err);

/* What was kept for this machine, level and number of threads (0 as above). False when there is
 * nothing, or it is damaged, or of another version, CPU or number of CPUs. */
bool bk_limits_load(bk_cpu_level level, int max_threads, bk_limits *out);

/* Keeps them. IO, NOT_FOUND (no cache folder), NOMEM. */
bk_status bk_limits_save(const bk_limits *l, bk_error *err);

/* The kept ones, or measured now and kept; `again`: measured in any case. A cache folder that cannot be
 * written is no error. */
bk_status bk_limits_get(bk_cpu_level level, int max_threads, bool again,
                        const bk_limits_watch *watch, bk_limits *out, bk_error *err);

/* Bytes per second when `bytes` bytes are read over and over by that many threads: linear between the
 * counts measured and in the logarithm of the sizes, constant beyond both. */
double bk_limits_read_rate(const bk_limits *l, int threads, size_t bytes);

/* Operations per second, linear between the counts. bf16 may be 0. */
double bk_limits_int8(const bk_limits *l, int threads);
double bk_limits_bf16(const bk_limits *l, int threads);
double bk_limits_f32(const bk_limits *l, int threads);
double bk_limits_barrier(const bk_limits *l, int threads); /* seconds */

/* The rate for one buffer of this size, measured now for at least a second: what decoding of a model
 * cannot pass whose tokens read as many bytes. At least 4096 bytes for each thread. INVALID, NOMEM,
 * CANCELLED. best and median in bytes per second. */
bk_status bk_read_rate_measure(bk_cpu_level level, int threads, size_t bytes,
                               const volatile bool *cancel, double *best, double *median,
                               bk_error *err);

/* What bk_limits_measure would fill, without the figures: CPU, thread counts, sizes. */
void bk_limits_describe(bk_cpu_level level, int max_threads, bk_limits *out);

/* The file's text, and from it: FORMAT for what is damaged or of another version. */
bool bk_limits_write(const bk_limits *l, bk_buf *out);
bk_status bk_limits_read(bk_str text, bk_limits *out, bk_error *err);

#endif
