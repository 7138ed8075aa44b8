/* Fork-join pool. Workers wait for the next region at a gate each, inside of a region everybody waits at
 * one, which opens when the last thread has arrived. Arrival counter, gates and cursor sit on lines of
 * their own, so that waiting threads do not slow down the ones that still work.
 *
 * Waiting: spin (most waits inside a pass are below a few microseconds), then sleep on a futex. The
 * waker makes the system call only when somebody sleeps.
 *
 * Where threads have to share CPUs - more threads than CPUs, other programs, a quota, a host that lends
 * its CPUs to others - a thread that is not running holds up all others at every barrier. So a region's
 * threads compare the time that went by with the time they ran or slept: what is missing was lost to
 * others. Regions of short operations then run on as many threads as there was time for; all of them are
 * tried again after a while. */
#include "sys/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sys/cpu.h"

enum {
    MAX_THREADS = 256,
    LINES = 128,               /* two cache lines: processors fetch them in pairs */
    SPIN_BARRIER_NS = 100000,  /* inside a region: others are at work */
    SPIN_IDLE_NS = 200000,     /* between regions: the next token is near, or nothing is */
    SPIN_CROWDED_NS = 2000,    /* who spins takes time from whom it waits for */
    WINDOW_NS = 20000000,      /* what is judged: several slices of a scheduler */
    REST_LEAST_NS = 100000000, /* until all threads are tried again; twice as long each time */
    REST_MOST_NS = 1600000000
};

static const double LOST_MOST = 0.25; /* threads' worth of time */

/* What is waited at: the word changes. */
typedef struct gate {
    _Alignas(LINES) _Atomic uint32_t word;
    _Alignas(LINES) _Atomic int sleepers;
    _Atomic uint64_t opened_ns; /* the last time that somebody slept */
} gate;

typedef struct worker {
    gate go; /* counts the regions that it takes part in */
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
    int n_active;         /* threads of the region under way */
    bool too_many;        /* more threads than CPUs */
    _Atomic bool crowded; /* that, or time was lost */
    worker *workers;      /* [n_threads], 0 is the caller: no gate, no thread */
    run *runs;            /* [n_threads] */
    pthread_mutex_t run_lock;
    bk_pool_fn fn;
    void *arg;
    bool stop;
    void *memory; /* of this struct, which is aligned within */

    int few;                    /* threads for regions of short operations */
    uint64_t rest_ns, retry_ns; /* how long, and until when, some of them are left out */
    int judged;                 /* threads of the regions that these are sums over: */
    uint64_t wall_ns, lost_ns;
    bool was_late; /* the window before: more than LOST_MOST */

    uint64_t began_ns;                       /* the region under way */
    _Alignas(LINES) _Atomic uint64_t off_ns; /* its threads' time that they did not run */
    _Atomic uint64_t slept_ns;               /* of it, what they wanted to sleep */
    gate phase;                              /* counts barriers */
    _Alignas(LINES) _Atomic int arrived;
    _Alignas(LINES) _Atomic size_t cursor;
};

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Waits until the word is no longer `seen`. Returns how long the thread slept before the gate opened;
 * what it slept after that was lost. */
static uint64_t wait_at(const bk_pool *p, gate *g, uint32_t seen, uint64_t spin_ns) {
    uint64_t now = 0, until = 0;
    bool crowded = atomic_load_explicit(&p->crowded, memory_order_relaxed);
    if (crowded) spin_ns = SPIN_CROWDED_NS;
    for (unsigned i = 0;; i++) {
        if (atomic_load_explicit(&g->word, memory_order_acquire) != seen) return 0;
        pause_cpu();
        if (i % 32 != 31) continue;
        now = bk_now_ns();
        if (!until) until = now + spin_ns;
        if (now >= until) break;
        if (crowded) sched_yield();
    }
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->word) == seen)
        syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->sleepers, 1);
    uint64_t opened = atomic_load_explicit(&g->opened_ns, memory_order_relaxed);
    return opened > now ? opened - now : 0;
}

static void open_gate(gate *g) {
    if (atomic_load_explicit(&g->sleepers, memory_order_relaxed) > 0)
        atomic_store_explicit(&g->opened_ns, bk_now_ns(), memory_order_relaxed);
    atomic_fetch_add(&g->word, 1);
    if (atomic_load(&g->sleepers) > 0)
        syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
}

static void reset_chunks(bk_pool *p) {
    atomic_store_explicit(&p->cursor, 0, memory_order_relaxed);
    for (int t = 0; t < p->n_threads; t++)
        atomic_store_explicit(&p->runs[t].left, RUN_FRESH, memory_order_relaxed);
}

/* All threads of the region. Nothing changes the phase until all have arrived, so that the value at entry
 * is the one to wait behind. */
static uint64_t barrier(bk_pool *p) {
    uint32_t seen = atomic_load_explicit(&p->phase.word, memory_order_relaxed);
    int last = p->n_active - 1; /* the next region's number may differ */
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) < last)
        return wait_at(p, &p->phase, seen, SPIN_BARRIER_NS);
    reset_chunks(p);
    atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    open_gate(&p->phase);
    return 0;
}

void bk_pool_barrier(bk_pool *p) {
    uint64_t slept = barrier(p);
    if (slept) atomic_fetch_add_explicit(&p->slept_ns, slept, memory_order_relaxed);
}

size_t bk_pool_next(bk_pool *p) {
    return atomic_fetch_add_explicit(&p->cursor, 1, memory_order_relaxed);
}

size_t bk_pool_share_begin(const bk_pool *p, int thread, size_t n) {
    return n * (size_t)thread / (size_t)p->n_active;
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
    for (int i = 1; i < p->n_active; i++)
        if (take(p, (thread + i) % p->n_active, n, true, chunk)) return true;
    return false;
}

/* ---- Regions ------------------------------------------------------------------------------------ */

static uint64_t thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A thread's part of a region, and how much of the time since the region began it did not run. */
static void take_part(bk_pool *p, int thread) {
    if (p->n_active > 1) {
        uint64_t cpu = thread_cpu_ns();
        p->fn(p->arg, thread);
        cpu = thread_cpu_ns() - cpu;
        uint64_t wall = bk_now_ns() - p->began_ns;
        if (wall > cpu) atomic_fetch_add_explicit(&p->off_ns, wall - cpu, memory_order_relaxed);
    } else {
        p->fn(p->arg, thread);
    }
    barrier(p);
}

static void *work(void *arg) {
    worker *w = arg;
    bk_pool *p = w->pool;
    for (uint32_t seen = 0;; seen++) {
        wait_at(p, &w->go, seen, SPIN_IDLE_NS);
        if (p->stop) return NULL;
        take_part(p, w->index);
    }
}

/* How many threads a region of short operations gets. */
static int few_threads(bk_pool *p) {
    if (p->few < p->n_threads && bk_now_ns() >= p->retry_ns) p->few = p->n_threads;
    return p->few;
}

/* After a region: whether its threads lost time, and for how many there was time. */
static void judge(bk_pool *p) {
    uint64_t now = bk_now_ns(), off = atomic_load(&p->off_ns), slept = atomic_load(&p->slept_ns);
    if (p->judged != p->n_active) p->wall_ns = p->lost_ns = 0;
    p->judged = p->n_active;
    p->wall_ns += now - p->began_ns;
    p->lost_ns += off > slept ? off - slept : 0;
    if (p->wall_ns < WINDOW_NS) return;
    double lost = (double)p->lost_ns / (double)p->wall_ns; /* in threads */
    /* A disturbance of some milliseconds is over when it has been seen: not a single window. */
    bool again = p->was_late || p->rest_ns > 0 || p->wall_ns >= 2 * WINDOW_NS;
    bool late = lost > LOST_MOST && again;
    p->wall_ns = p->lost_ns = 0;
    p->was_late = lost > LOST_MOST;
    atomic_store_explicit(&p->crowded, p->too_many || late, memory_order_relaxed);
    if (late) {
        p->few = bk_max_int(1, (int)(p->n_active + LOST_MOST - lost));
        p->rest_ns = bk_min_size(bk_max_size(2 * p->rest_ns, REST_LEAST_NS), REST_MOST_NS);
        p->retry_ns = now + p->rest_ns;
    } else if (p->n_active == p->n_threads && !p->was_late) {
        p->few = p->n_threads;
        p->rest_ns = 0;
    }
}

typedef enum kind { PLAIN, SHORT, STEADY } kind;

static void run_region(bk_pool *p, bk_pool_fn fn, void *arg, kind k) {
    pthread_mutex_lock(&p->run_lock);
    p->fn = fn;
    p->arg = arg;
    p->n_active = k == SHORT ? few_threads(p) : p->n_threads;
    if (k == STEADY) atomic_store_explicit(&p->crowded, p->too_many, memory_order_relaxed);
    if (p->n_active > 1) {
        atomic_store_explicit(&p->off_ns, 0, memory_order_relaxed);
        atomic_store_explicit(&p->slept_ns, 0, memory_order_relaxed);
        p->began_ns = bk_now_ns();
    }
    for (int i = 1; i < p->n_active; i++) open_gate(&p->workers[i].go);
    take_part(p, 0);
    if (p->n_active > 1) judge(p);
    pthread_mutex_unlock(&p->run_lock);
}

void bk_pool_run(bk_pool *p, bk_pool_fn fn, void *arg) { run_region(p, fn, arg, PLAIN); }
void bk_pool_run_short(bk_pool *p, bk_pool_fn fn, void *arg) { run_region(p, fn, arg, SHORT); }
void bk_pool_run_steady(bk_pool *p, bk_pool_fn fn, void *arg) { run_region(p, fn, arg, STEADY); }

bk_status bk_pool_create(int n_threads, bk_pool **out, bk_error *err) {
    *out = NULL;
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return bk_fail(err, BK_ERR_INVALID, "threads: %d given, 1 to %d wanted", n_threads,
                       MAX_THREADS);
    size_t n = (size_t)n_threads;
    char *memory = bk_alloc_aligned(sizeof(bk_pool) + n * (sizeof(worker) + sizeof(run)) + LINES);
    if (!memory) return bk_fail(err, BK_ERR_NOMEM, "no memory for a pool of %d threads", n_threads);
    bk_pool *p = (bk_pool *)(void *)(memory + (-(uintptr_t)memory & (LINES - 1)));
    *p = (bk_pool){.n_threads = n_threads, .n_active = n_threads, .n_started = 1, .memory = memory};
    p->few = n_threads;
    p->workers = (worker *)(void *)(p + 1); /* all three are multiples of LINES long */
    p->runs = (run *)(void *)(p->workers + n);
    reset_chunks(p);
    p->too_many = n_threads > bk_cpu_default_threads();
    p->crowded = p->too_many;
    pthread_mutex_init(&p->run_lock, NULL);
    for (int i = 0; i < n_threads; i++) p->workers[i] = (worker){.pool = p, .index = i};
    for (int i = 1; i < n_threads; i++) {
        /* Signals are for the program's own threads: one that a worker took would not wake them. */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int refused = pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]);
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
    for (int i = 1; i < p->n_started; i++) open_gate(&p->workers[i].go);
    for (int i = 1; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->run_lock);
    bk_free(p->memory);
}

int bk_pool_threads(const bk_pool *p) { return p->n_threads; }
