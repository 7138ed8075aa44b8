/* Many short runs, the best of which counts: what is in the way of one (another process, a clock that
 * has not risen yet) does not belong to the machine. */
#include "measure/limits.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernel/peak.h"
#include "sys/memory.h"
#include "sys/pages.h"
#include "sys/pool.h"

#define MIB ((uint64_t)1 << 20)

enum {
    MAX_THREADS = 256,
    RUN_NS = 1000000,    /* what a run is made to last when it would be shorter */
    CELL_NS = 20000000,  /* for one number in one round */
    RATE_NS = 1000000000 /* for a single rate */
};
/* Rounds over everything: a neighbour who takes the memory, or a virtual machine's host that puts two
 * of its CPUs on one core, does so for a while and not for one number. */
enum { ROUNDS = 3 };
enum { LEAST_RUNS = 2, LEAST_RATE_RUNS = 8, MOST_RUNS = 4096 };

/* ---- One number --------------------------------------------------------------------------------- */

typedef struct probe {
    bk_pool *pool;
    const volatile bool *cancel;
    size_t amount, most; /* of repetitions in one run */

    bk_peak_loop loop; /* one of these three; the third is the barrier */
    uint64_t (*read)(const void *from, size_t bytes);

    char *buffer;
    size_t share; /* bytes of the buffer for each thread */
    _Atomic uint64_t units, sink;
    uint64_t ns;
    double rates[MOST_RUNS]; /* units per second of each run */
} probe;

static uint64_t work(probe *p, int thread) {
    uint64_t sum = 0;
    if (p->loop) return 2 * p->loop(p->amount);
    for (size_t i = 0; i < p->amount; i++) {
        if (p->read)
            sum ^= p->read(p->buffer + (size_t)thread * p->share, p->share);
        else
            bk_pool_barrier(p->pool);
    }
    atomic_fetch_xor_explicit(&p->sink, sum, memory_order_relaxed);
    if (p->read) return p->amount * (uint64_t)p->share;
    return thread == 0 ? p->amount : 0;
}

/* The clock runs from when all threads are awake until the last is done. */
static void region(void *arg, int thread) {
    probe *p = arg;
    bk_pool_barrier(p->pool);
    uint64_t start = bk_now_ns();
    uint64_t units = work(p, thread);
    atomic_fetch_add_explicit(&p->units, units, memory_order_relaxed);
    bk_pool_barrier(p->pool);
    if (thread == 0) p->ns = bk_now_ns() - start;
}

static double run(probe *p) {
    p->units = 0;
    bk_pool_run(p->pool, region, p);
    return (double)p->units * 1e9 / (double)(p->ns ? p->ns : 1);
}

/* As many repetitions as make a run long enough. */
static void calibrate(probe *p) {
    for (int i = 0; i < 2; i++) {
        run(p);
        double factor = RUN_NS / (double)(p->ns ? p->ns : 1);
        double amount = ceil((double)p->amount * factor);
        p->amount = amount < 1 ? 1 : amount < (double)p->most ? (size_t)amount : p->most;
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs for `ns` nanoseconds, `least` times at least, and raises *best and *median to what comes out.
 * False when cancelled. */
static bool sample(probe *p, uint64_t ns, size_t least, double *best, double *median) {
    size_t n = 0;
    calibrate(p);
    for (uint64_t start = bk_now_ns(); n < MOST_RUNS; n++) {
        if (p->cancel && *p->cancel) return false;
        if (n >= least && bk_now_ns() - start >= ns) break;
        p->rates[n] = run(p);
    }
    qsort(p->rates, n, sizeof *p->rates, ascending);
    *best = fmax(*best, p->rates[n - 1]);
    if (median) *median = fmax(*median, p->rates[n / 2]);
    return true;
}

static bool sample_loop(probe *p, bk_peak_loop loop, double *best) {
    p->loop = loop;
    p->read = NULL;
    p->amount = 1024;
    p->most = BK_PEAK_ROUNDS;
    return !loop || sample(p, CELL_NS, LEAST_RUNS, best, NULL);
}

static bool sample_barrier(probe *p, double *seconds) {
    double rate = *seconds > 0 ? 1 / *seconds : 0;
    p->loop = NULL;
    p->read = NULL;
    p->amount = 64;
    p->most = 1 << 16;
    if (!sample(p, CELL_NS, LEAST_RUNS, &rate, NULL)) return false;
    *seconds = 1 / rate;
    return true;
}

/* The buffer has been written by then: untouched pages are all the same zeros in the cache. */
static bool sample_read(probe *p, const bk_peaks *peaks, uint64_t bytes, uint64_t ns, size_t least,
                        double *best, double *median) {
    size_t n = (size_t)bk_pool_threads(p->pool);
    p->loop = NULL;
    p->read = peaks->read;
    p->share = bk_max_size((size_t)bytes / n / BK_PEAK_READ, 1) * BK_PEAK_READ;
    p->amount = 1;
    p->most = 1 << 20;
    return sample(p, ns, least, best, median);
}

/* Each thread its own share, so that pages come from the memory next to it. */
static void touch(void *arg, int thread) {
    const probe *p = arg;
    memset(p->buffer + (size_t)thread * p->share, 1, p->share);
}

static bk_status get_buffer(probe *p, size_t bytes, bk_error *err) {
    p->buffer = bk_pages_alloc(bytes);
    if (!p->buffer) return bk_fail(err, BK_ERR_NOMEM, "no memory for a buffer of %zu bytes", bytes);
    p->share = bytes / (size_t)bk_pool_threads(p->pool);
    bk_pool_run(p->pool, touch, p);
    return BK_OK;
}

/* ---- All of them -------------------------------------------------------------------------------- */

typedef struct job {
    bk_limits *l;
    bk_peaks peaks;
    const bk_limits_watch *watch;
    int done, all;
    probe p;
} job;

/* After each number; false when there is to be no next one. */
static bool step(job *j, bool measured) {
    const bk_limits_watch *w = j->watch;
    j->done++;
    if (measured && w->progress) w->progress((double)j->done / j->all, w->user);
    return measured && !(w->cancel && *w->cancel);
}

enum { LOOPS = 5 }; /* beside the reads: four instructions and the barrier */

static bool measure_count(job *j, int c) {
    bk_limits *l = j->l;
    probe *p = &j->p;
    bool on = step(j, sample_loop(p, j->peaks.int8, &l->int8[c])) &&
              step(j, sample_loop(p, j->peaks.int8_memory, &l->int8_memory[c])) &&
              step(j, sample_loop(p, j->peaks.bf16, &l->bf16[c])) &&
              step(j, sample_loop(p, j->peaks.f32, &l->f32[c])) &&
              step(j, sample_barrier(p, &l->barrier[c]));
    for (int s = 0; s < l->n_sizes && on; s++) {
        on = step(j, sample_read(p, &j->peaks, l->bytes[s], CELL_NS, LEAST_RUNS, &l->read[c][s],
                                 &l->read_median[c][s]));
    }
    return on;
}

/* From the most threads to one: the first pool fills the buffer. */
static bk_status measure_all(job *j, bk_error *err) {
    bk_limits *l = j->l;
    size_t most = (size_t)l->bytes[l->n_sizes - 1];
    bk_status st = BK_OK;
    for (int i = 0; i < ROUNDS * l->n_counts && !st; i++) {
        int c = l->n_counts - 1 - i % l->n_counts;
        st = bk_pool_create(l->threads[c], &j->p.pool, err);
        if (!st && !j->p.buffer) st = get_buffer(&j->p, most, err);
        if (!st && !measure_count(j, c)) st = bk_fail(err, BK_ERR_CANCELLED, "cancelled");
        bk_pool_destroy(&j->p.pool);
    }
    bk_pages_free(j->p.buffer, most);
    return st;
}

/* From what lies in the second-level cache to what no cache holds. */
static const uint64_t SIZES[BK_LIMITS_SIZES] = {MIB / 4,  MIB,       4 * MIB,   16 * MIB,
                                                64 * MIB, 100 * MIB, 256 * MIB, 1024 * MIB};

static void choose_sizes(bk_limits *l) {
    bk_memory m;
    bk_memory_read(bk_memory_root(), &m);
    uint64_t most = m.total ? m.total : 1024 * MIB;
    if (m.cgroup_limit && m.cgroup_limit < most) most = m.cgroup_limit;
    if (m.available && m.available < most) most = m.available;
    for (size_t i = 0; i < BK_ARRAY_LEN(SIZES); i++) {
        if (i == 0 || SIZES[i] <= most / 4) l->bytes[l->n_sizes++] = SIZES[i];
    }
}

void bk_limits_describe(bk_cpu_level level, int max_threads, bk_limits *out) {
    *out = (bk_limits){.level = level};
    bk_cpu_model_name(out->cpu, sizeof out->cpu);
    bk_cpu_cores(&out->cpus);
    if (max_threads < 1) max_threads = bk_cpu_default_threads();
    max_threads = bk_min_int(max_threads, MAX_THREADS);
    for (int n = 1; n < max_threads; n *= 2) out->threads[out->n_counts++] = n;
    out->threads[out->n_counts++] = max_threads;
    choose_sizes(out);
}

static bk_status check(bk_cpu_level level, int threads, int least, bk_error *err) {
    if (threads < least || threads > MAX_THREADS)
        return bk_fail(err, BK_ERR_INVALID, "threads: %d given, %d to %d wanted", threads, least,
                       MAX_THREADS);
    if ((unsigned)level > bk_cpu_best())
        return bk_fail(err, BK_ERR_INVALID, "this CPU does not have the level %s, its best is %s",
                       bk_cpu_level_name(level), bk_cpu_level_name(bk_cpu_best()));
    return BK_OK;
}

bk_status bk_limits_measure(bk_cpu_level level, int max_threads, const bk_limits_watch *watch,
                            bk_limits *out, bk_error *err) {
    static const bk_limits_watch nobody;
    *out = (bk_limits){0};
    bk_status st = check(level, max_threads, 0, err);
    if (st) return st;
    bk_limits_describe(level, max_threads, out);
    job *j = bk_alloc_zero(1, sizeof *j);
    if (!j) return bk_fail(err, BK_ERR_NOMEM, "no memory to measure with");
    j->l = out;
    j->peaks = bk_peaks_select(level);
    j->watch = watch ? watch : &nobody;
    j->p.cancel = j->watch->cancel;
    j->all = ROUNDS * out->n_counts * (LOOPS + out->n_sizes);
    st = measure_all(j, err);
    out->date = (int64_t)time(NULL);
    bk_free(j);
    return st;
}

bk_status bk_read_rate_measure(bk_cpu_level level, int threads, size_t bytes,
                               const volatile bool *cancel, double *best, double *median,
                               bk_error *err) {
    enum { LEAST_SHARE = 4096 };
    bk_status st = check(level, threads, 1, err);
    if (st) return st;
    if (bytes / (size_t)threads < LEAST_SHARE)
        return bk_fail(err, BK_ERR_INVALID, "%zu bytes given, at least %d for each thread wanted",
                       bytes, LEAST_SHARE);
    if ((st = bk_memory_check(bk_memory_root(), bytes, err))) return st;
    probe *p = bk_alloc_zero(1, sizeof *p);
    if (!p) return bk_fail(err, BK_ERR_NOMEM, "no memory to measure with");
    *best = *median = 0;
    bk_peaks peaks = bk_peaks_select(level);
    p->cancel = cancel;
    st = bk_pool_create(threads, &p->pool, err);
    if (!st) st = get_buffer(p, bytes, err);
    if (!st && !sample_read(p, &peaks, bytes, RATE_NS, LEAST_RATE_RUNS, best, median))
        st = bk_fail(err, BK_ERR_CANCELLED, "cancelled");
    bk_pool_destroy(&p->pool);
    bk_pages_free(p->buffer, bytes);
    bk_free(p);
    return st;
}

/* ---- Between what was measured ------------------------------------------------------------------ */

/* Index of the last of at[n] that is not above x (0 when there is none), and how far x lies on the way
 * to the next, 0..1. */
static int place(const double *at, int n, double x, double *part) {
    int i = 0;
    while (i + 2 < n && at[i + 1] <= x) i++;
    *part = 0;
    if (n < 2 || x <= at[0]) return 0;
    *part = x >= at[n - 1] ? 1 : (x - at[i]) / (at[i + 1] - at[i]);
    return i;
}

static int place_threads(const bk_limits *l, int threads, double *part) {
    double at[BK_LIMITS_COUNTS];
    for (int i = 0; i < l->n_counts; i++) at[i] = l->threads[i];
    return place(at, l->n_counts, threads, part);
}

static double between(double a, double b, double part) {
    return part == 0 ? a : part == 1 ? b : a + part * (b - a);
}

static double over_threads(const bk_limits *l, const double *v, int threads) {
    double part;
    int i = place_threads(l, threads, &part);
    return part == 0 ? v[i] : between(v[i], v[i + 1], part);
}

double bk_limits_int8(const bk_limits *l, int threads) { return over_threads(l, l->int8, threads); }
double bk_limits_bf16(const bk_limits *l, int threads) { return over_threads(l, l->bf16, threads); }
double bk_limits_f32(const bk_limits *l, int threads) { return over_threads(l, l->f32, threads); }
double bk_limits_barrier(const bk_limits *l, int threads) {
    return over_threads(l, l->barrier, threads);
}

double bk_limits_read_rate(const bk_limits *l, int threads, size_t bytes) {
    double at[BK_LIMITS_SIZES], v[BK_LIMITS_COUNTS], part;
    for (int i = 0; i < l->n_sizes; i++) at[i] = log((double)l->bytes[i]);
    int s = place(at, l->n_sizes, log((double)bk_max_size(bytes, 1)), &part);
    for (int c = 0; c < l->n_counts; c++) {
        const double *r = l->read[c];
        v[c] = part == 0 ? r[s] : between(r[s], r[s + 1], part);
    }
    return over_threads(l, v, threads);
}
