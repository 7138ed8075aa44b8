/* The thread pool: every chunk once, barriers that order memory, no CPU while idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "sys/pool.h"

enum { MAX_THREADS = 8 };

static bk_pool *create(int threads) {
    bk_pool *p = NULL;
    bk_error err = {0};
    assert_int_equal(bk_pool_create(threads, &p, &err), BK_OK);
    assert_non_null(p);
    assert_int_equal(bk_pool_threads(p), threads);
    return p;
}

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static double cpu_seconds(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* ---- Chunks ------------------------------------------------------------------------------------- */

enum { OPS = 5, CHUNKS = 37 };

typedef struct count_job {
    bk_pool *pool;
    _Atomic int taken[OPS][CHUNKS];
    _Atomic int ran[MAX_THREADS];
} count_job;

static void count_region(void *arg, int thread) {
    count_job *job = arg;
    atomic_fetch_add(&job->ran[thread], 1);
    for (int op = 0; op < OPS; op++) {
        for (size_t i; (i = bk_pool_next(job->pool)) < CHUNKS;)
            atomic_fetch_add(&job->taken[op][i], 1);
        if (op + 1 < OPS) bk_pool_barrier(job->pool);
    }
}

/* Thread 0 comes last to each operation: the others take what is its own. */
static void share_region(void *arg, int thread) {
    count_job *job = arg;
    for (int op = 0; op < OPS; op++) {
        if (thread == 0) sleep_ms(2);
        size_t n = op == 1 ? 1 : op == 2 ? 0 : CHUNKS, i;
        while (bk_pool_share(job->pool, thread, n, &i)) {
            assert_true(i < n);
            atomic_fetch_add(&job->taken[op][i], 1);
        }
        if (op + 1 < OPS) bk_pool_barrier(job->pool);
    }
}

static void each_chunk_of_a_share_is_handed_out_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        static count_job job;
        memset(&job, 0, sizeof job);
        job.pool = create(threads);
        for (int run = 0; run < 3; run++) bk_pool_run(job.pool, share_region, &job);
        for (int op = 0; op < OPS; op++)
            for (int i = 0; i < CHUNKS; i++)
                assert_int_equal(job.taken[op][i], op == 2 || (op == 1 && i > 0) ? 0 : 3);
        size_t next = 0;
        for (int t = 0; t < threads; t++) {
            assert_true(bk_pool_share_begin(job.pool, t, CHUNKS) >= next);
            next = bk_pool_share_begin(job.pool, t, CHUNKS);
        }
        assert_int_equal(bk_pool_share_begin(job.pool, threads, CHUNKS), CHUNKS);
        bk_pool_destroy(&job.pool);
    }
}

static void each_chunk_is_handed_out_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        count_job job = {.pool = create(threads)};
        const int regions = 50;
        for (int r = 0; r < regions; r++) bk_pool_run(job.pool, count_region, &job);
        for (int op = 0; op < OPS; op++)
            for (int i = 0; i < CHUNKS; i++) assert_int_equal(job.taken[op][i], regions);
        for (int t = 0; t < MAX_THREADS; t++)
            assert_int_equal(job.ran[t], t < threads ? regions : 0);
        bk_pool_destroy(&job.pool);
        assert_null(job.pool);
    }
}

/* ---- Barriers ------------------------------------------------------------------------------------ */

enum { STEPS = 40 };

/* Plain memory: after each barrier every thread reads what all have written before it. */
typedef struct order_job {
    bk_pool *pool;
    int threads;
    long written[STEPS][MAX_THREADS], sum[MAX_THREADS];
} order_job;

static void order_region(void *arg, int thread) {
    order_job *job = arg;
    long sum = thread;
    for (int s = 0; s < STEPS; s++) {
        job->written[s][thread] = sum + s;
        bk_pool_barrier(job->pool);
        sum = 0;
        for (int t = 0; t < job->threads; t++) sum += job->written[s][t] * (t + 1) % 1000;
    }
    job->sum[thread] = sum;
}

static long order_expected(int threads, int thread) {
    long sum[MAX_THREADS];
    for (int t = 0; t < threads; t++) sum[t] = t;
    for (int s = 0; s < STEPS; s++) {
        long next = 0;
        for (int t = 0; t < threads; t++) next += (sum[t] + s) * (t + 1) % 1000;
        for (int t = 0; t < threads; t++) sum[t] = next;
    }
    return sum[thread];
}

static void barriers_order_memory(void **state) {
    (void)state;
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        order_job job = {.pool = create(threads), .threads = threads};
        for (int r = 0; r < 20; r++) {
            memset(job.written, 0, sizeof job.written);
            bk_pool_run(job.pool, order_region, &job);
            for (int t = 0; t < threads; t++)
                assert_int_equal(job.sum[t], order_expected(threads, t));
        }
        bk_pool_destroy(&job.pool);
    }
}

static void add_one(void *arg, int thread) { ((long *)arg)[thread * 16]++; }

/* Regions one right after another, and after a pause that is long enough for workers to sleep. */
static void many_regions(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        bk_pool *p = create(threads);
        long counts[4 * 16] = {0};
        for (int r = 0; r < 3000; r++) {
            (r % 2 ? bk_pool_run_steady : bk_pool_run)(p, add_one, counts);
            if (r % 1000 == 500) sleep_ms(3);
        }
        for (int t = 0; t < threads; t++) assert_int_equal(counts[t * 16], 3000);
        bk_pool_destroy(&p);
    }
}

/* ---- Waiting costs nothing ------------------------------------------------------------------------ */

static void nothing(void *arg, int thread) {
    (void)arg;
    (void)thread;
}

static void an_idle_pool_uses_no_cpu(void **state) {
    (void)state;
    bk_pool *p = create(4);
    for (int i = 0; i < 100; i++) bk_pool_run(p, nothing, NULL);
    sleep_ms(50);
    double before = cpu_seconds();
    sleep_ms(300);
    double used = cpu_seconds() - before;
    if (used > 0.010) fail_msg("%.1f ms of CPU in 300 ms of idling", 1e3 * used);
    bk_pool_destroy(&p);
}

typedef struct late_job {
    bk_pool *pool;
    int late;
    bool arrived;
    _Atomic int seen;
} late_job;

/* One thread comes 200 ms late: the others have to sleep, and to wake. */
static void late_region(void *arg, int thread) {
    late_job *job = arg;
    if (thread == job->late) {
        sleep_ms(200);
        job->arrived = true;
    }
    bk_pool_barrier(job->pool);
    if (job->arrived) atomic_fetch_add(&job->seen, 1);
}

static void waiting_for_a_late_thread_uses_no_cpu(void **state) {
    (void)state;
    bk_pool *p = create(4);
    for (int late = 0; late < 4; late += 3) {
        late_job job = {.pool = p, .late = late};
        double before = cpu_seconds();
        bk_pool_run(p, late_region, &job);
        double used = cpu_seconds() - before;
        assert_int_equal(job.seen, 4);
        if (used > 0.020) fail_msg("%.1f ms of CPU in 200 ms of waiting", 1e3 * used);
    }
    bk_pool_destroy(&p);
}

/* ---- Too few CPUs -------------------------------------------------------------------------------- */

enum { CROWD = 4 };

typedef struct crowd_job {
    bk_pool *pool;
    _Atomic int taken[CHUNKS], shared[CHUNKS];
    _Atomic int threads;
} crowd_job;

static void crowd_region(void *arg, int thread) {
    crowd_job *job = arg;
    size_t chunk;
    atomic_fetch_add(&job->threads, 1);
    while (bk_pool_share(job->pool, thread, CHUNKS, &chunk)) {
        atomic_fetch_add(&job->shared[chunk], 1);
        for (uint64_t until = bk_now_ns() + 50000; bk_now_ns() < until;) continue;
    }
    bk_pool_barrier(job->pool);
    while ((chunk = bk_pool_next(job->pool)) < CHUNKS) atomic_fetch_add(&job->taken[chunk], 1);
}

/* On one CPU a region of short operations ends up with its caller alone, and later the others are tried
 * again; each chunk is handed out once all the same. */
static void threads_without_time_are_left_out(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    crowd_job job = {.pool = create(CROWD)};
    bool alone = false, again = false;
    uint64_t until = bk_now_ns() + 20000000000u;
    for (int regions = 1; !again && bk_now_ns() < until; regions++) {
        job.threads = 0;
        bk_pool_run_short(job.pool, crowd_region, &job);
        for (int i = 0; i < CHUNKS; i++) {
            assert_int_equal(job.taken[i], regions);
            assert_int_equal(job.shared[i], regions);
        }
        if (regions == 1) assert_int_equal(job.threads, CROWD);
        again = alone && job.threads == CROWD;
        alone |= job.threads == 1;
    }
    assert_true(alone);
    assert_true(again);
    job.threads = 0;
    bk_pool_run(job.pool, crowd_region, &job);
    assert_int_equal(job.threads, CROWD);
    bk_pool_destroy(&job.pool);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

/* ---- Callers ------------------------------------------------------------------------------------- */

typedef struct shared_job {
    bk_pool *pool;
    long inside; /* plain: only one region runs at a time */
    long total;
    bool overlap;
} shared_job;

static void shared_region(void *arg, int thread) {
    shared_job *job = arg;
    if (thread == 0) {
        if (job->inside != 0) job->overlap = true;
        job->inside = 1;
    }
    bk_pool_barrier(job->pool);
    if (thread == 0) {
        job->total++;
        job->inside = 0;
    }
}

static void *caller(void *arg) {
    shared_job *job = arg;
    for (int i = 0; i < 200; i++) bk_pool_run(job->pool, shared_region, job);
    return NULL;
}

static void callers_take_turns(void **state) {
    (void)state;
    shared_job job = {.pool = create(2)};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, caller, &job), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    assert_int_equal(job.total, 600);
    assert_false(job.overlap);
    bk_pool_destroy(&job.pool);
}

static void creating_and_destroying(void **state) {
    (void)state;
    const int wrong[] = {0, -1, 257, INT32_MAX};
    for (size_t i = 0; i < BK_ARRAY_LEN(wrong); i++) {
        bk_pool *p = (bk_pool *)&wrong;
        bk_error err = {0};
        assert_int_equal(bk_pool_create(wrong[i], &p, &err), BK_ERR_INVALID);
        assert_null(p);
        assert_non_null(strstr(err.text, "1 to 256"));
    }
    for (int i = 0; i < 40; i++) {
        bk_pool *p = create(1 + i % 8);
        if (i % 3 == 0) bk_pool_run(p, nothing, NULL);
        bk_pool_destroy(&p);
        bk_pool_destroy(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_chunk_is_handed_out_once),
        cmocka_unit_test(each_chunk_of_a_share_is_handed_out_once),
        cmocka_unit_test(barriers_order_memory),
        cmocka_unit_test(many_regions),
        cmocka_unit_test(an_idle_pool_uses_no_cpu),
        cmocka_unit_test(waiting_for_a_late_thread_uses_no_cpu),
        cmocka_unit_test(threads_without_time_are_left_out),
        cmocka_unit_test(callers_take_turns),
        cmocka_unit_test(creating_and_destroying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
