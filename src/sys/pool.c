/* Fork-join pool. One word ("phase") is what everybody waits on: it is bumped when a region starts
 * and when the last thread arrives at a barrier. Arrival counter, phase and cursor sit on lines of
 * their own, so that waiting threads do not slow down the ones that still work.
 *
 * Waiting: spin (most waits inside a pass are below a few microseconds), then sleep on a futex. The
 * waker makes the system call only when somebody sleeps. With more threads than CPUs spinning only
 * steals time from the thread that is being waited for, so it is kept to a minimum. */
#include "sys/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sys/cpu.h"

enum {
    MAX_THREADS = 256,
    LINES = 128,              /* two cache lines: processors fetch them in pairs */
    SPIN_BARRIER_NS = 100000, /* inside a region: others are at work */
    SPIN_IDLE_NS = 200000,    /* between regions: the next token is near, or nothing is */
    SPIN_CROWDED_NS = 2000    /* more threads than CPUs */
};

typedef struct worker {
    bk_pool *pool;
    int index;
    pthread_t thread;
} worker;

/* The chunks [low half, high half) that are left of a thread's run; RUN_FRESH: all of them. */
typedef struct run {
    _Alignas(LINES) _Atomic uint64_t left;
} run;
#define RUN_FRESH UINT64_MAX

struct bk_pool {
    int n_threads, n_started;
    bool crowded;
    worker *workers; /* [n_threads], 0 is the caller and unused */
    run *runs;       /* [n_threads] */
    pthread_mutex_t run_lock;
    bk_pool_fn fn;
    void *arg;
    bool stop;
    void *memory; /* of this struct, which is aligned within */
    _Alignas(LINES) _Atomic uint32_t phase;
    _Alignas(LINES) _Atomic int arrived;
    _Alignas(LINES) _Atomic int sleepers;
    _Alignas(LINES) _Atomic size_t cursor;
};

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Waits until the phase is no longer `seen`. */
static void wait_phase(bk_pool *p, uint32_t seen, uint64_t spin_ns) {
    uint64_t until = 0;
    for (unsigned i = 0;; i++) {
        if (atomic_load_explicit(&p->phase, memory_order_acquire) != seen) return;
        pause_cpu();
        if (i % 32 != 31) continue;
        uint64_t now = bk_now_ns();
        if (!until) until = now + spin_ns;
        if (now >= until) break;
        if (p->crowded) sched_yield();
    }
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->phase) == seen)
        syscall(SYS_futex, &p->phase, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&p->sleepers, 1);
}

static void reset_chunks(bk_pool *p) {
    atomic_store_explicit(&p->cursor, 0, memory_order_relaxed);
    for (int t = 0; t < p->n_threads; t++)
        atomic_store_explicit(&p->runs[t].left, RUN_FRESH, memory_order_relaxed);
}

static void next_phase(bk_pool *p) {
    reset_chunks(p);
    atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    atomic_fetch_add(&p->phase, 1);
    if (atomic_load(&p->sleepers) > 0)
        syscall(SYS_futex, &p->phase, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
}

/* Returns the phase that the barrier opened. The phase stands still until all have arrived, so the
 * value at entry plus one is right even when the next region has begun meanwhile. */
static uint32_t barrier(bk_pool *p) {
    uint32_t seen = atomic_load_explicit(&p->phase, memory_order_relaxed);
    int before = atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel);
    if (before == p->n_threads - 1)
        next_phase(p);
    else
        wait_phase(p, seen, p->crowded ? SPIN_CROWDED_NS : SPIN_BARRIER_NS);
    return seen + 1;
}

void bk_pool_barrier(bk_pool *p) { barrier(p); }

size_t bk_pool_next(bk_pool *p) {
    return atomic_fetch_add_explicit(&p->cursor, 1, memory_order_relaxed);
}

size_t bk_pool_share_begin(const bk_pool *p, int thread, size_t n) {
    return n * (size_t)thread / (size_t)p->n_threads;
}

/* The first or the last chunk of a thread's run. */
static bool take(bk_pool *p, int thread, size_t n, bool last, size_t *chunk) {
    _Atomic uint64_t *left = &p->runs[thread].left;
    uint64_t seen = atomic_load_explicit(left, memory_order_relaxed), rest;
    do {
        uint64_t from = seen & UINT32_MAX, to = seen >> 32;
        if (seen == RUN_FRESH) {
            from = bk_pool_share_begin(p, thread, n);
            to = bk_pool_share_begin(p, thread + 1, n);
        }
        if (from >= to) return false;
        *chunk = (size_t)(last ? to - 1 : from);
        rest = last ? (to - 1) << 32 | from : to << 32 | (from + 1);
    } while (!atomic_compare_exchange_weak_explicit(left, &seen, rest, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

bool bk_pool_share(bk_pool *p, int thread, size_t n, size_t *chunk) {
    if (take(p, thread, n, false, chunk)) return true;
    for (int i = 1; i < p->n_threads; i++)
        if (take(p, (thread + i) % p->n_threads, n, true, chunk)) return true;
    return false;
}

/* A region is: phase bump by the caller, fn on every thread, one closing barrier. */
static void *work(void *arg) {
    worker *w = arg;
    bk_pool *p = w->pool;
    uint32_t seen = 0;
    for (;;) {
        wait_phase(p, seen, p->crowded ? SPIN_CROWDED_NS : SPIN_IDLE_NS);
        if (p->stop) return NULL;
        p->fn(p->arg, w->index);
        seen = barrier(p);
    }
}

void bk_pool_run(bk_pool *p, bk_pool_fn fn, void *arg) {
    pthread_mutex_lock(&p->run_lock);
    p->fn = fn;
    p->arg = arg;
    if (p->n_threads > 1)
        next_phase(p);
    else
        reset_chunks(p);
    fn(arg, 0);
    barrier(p);
    pthread_mutex_unlock(&p->run_lock);
}

bk_status bk_pool_create(int n_threads, bk_pool **out, bk_error *err) {
    *out = NULL;
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return bk_fail(err, BK_ERR_INVALID, "threads: %d given, 1 to %d wanted", n_threads,
                       MAX_THREADS);
    size_t bytes = sizeof(bk_pool) + (size_t)n_threads * sizeof(run) + LINES;
    char *memory = bk_alloc_aligned(bytes);
    worker *workers = bk_alloc_zero((size_t)n_threads, sizeof *workers);
    if (!memory || !workers) {
        bk_free(memory);
        bk_free(workers);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a pool of %d threads", n_threads);
    }
    bk_pool *p = (bk_pool *)(void *)(memory + (-(uintptr_t)memory & (LINES - 1)));
    *p = (bk_pool){.n_threads = n_threads, .n_started = 1, .workers = workers, .memory = memory};
    p->runs = (run *)(void *)(p + 1); /* both are multiples of LINES long */
    reset_chunks(p);
    p->crowded = n_threads > bk_cpu_default_threads();
    pthread_mutex_init(&p->run_lock, NULL);
    for (int i = 1; i < n_threads; i++) {
        workers[i] = (worker){.pool = p, .index = i};
        /* Signals are for the program's own threads: one that a worker took would not wake them. */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int refused = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (refused) {
            bk_pool_destroy(&p);
            return bk_fail(err, BK_ERR_NOMEM,
                           "the system refused thread %d of %d; ask for fewer with -t", i + 1,
                           n_threads);
        }
        p->n_started = i + 1;
    }
    *out = p;
    return BK_OK;
}

void bk_pool_destroy(bk_pool **pool) {
    bk_pool *p = *pool;
    if (!p) return;
    *pool = NULL;
    p->stop = true;
    next_phase(p);
    for (int i = 1; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->run_lock);
    bk_free(p->workers);
    bk_free(p->memory);
}

int bk_pool_threads(const bk_pool *p) { return p->n_threads; }
