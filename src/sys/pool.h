/* The one thread pool: fork-join regions on persistent threads, with a barrier inside.
 *
 * A region runs `fn` on every thread; inside, bk_pool_next hands out chunks of an operation from an
 * atomic cursor and bk_pool_barrier separates operations. Waiting spins some microseconds, then
 * sleeps on a futex, so an idle pool uses no CPU and more threads than cores do not collapse. */
#ifndef BRISK_SYS_POOL_H
#define BRISK_SYS_POOL_H

#include "base/error.h"

typedef struct bk_pool bk_pool;

/* n_threads counts the caller, which takes part as thread 0. 1..256. */
bk_status bk_pool_create(int n_threads, bk_pool **out, bk_error *err);
void bk_pool_destroy(bk_pool **p);
int bk_pool_threads(const bk_pool *p);

/* Runs fn(arg, thread) on all threads and returns when all are done. Not reentrant: callers of the
 * same pool are serialised by a mutex. */
typedef void (*bk_pool_fn)(void *arg, int thread);
void bk_pool_run(bk_pool *p, bk_pool_fn fn, void *arg);

/* The same where operations are shorter than a scheduler's slice: when threads have lost time to others
 * on the same CPUs the last ones are left out for a while, so fn is not called for each of them. */
void bk_pool_run_short(bk_pool *p, bk_pool_fn fn, void *arg);

/* The same where throughput counts: threads that lost time to others keep their part, and who waits for
 * them at a barrier spins as if they had not. */
void bk_pool_run_steady(bk_pool *p, bk_pool_fn fn, void *arg);

/* Inside a region, on every thread alike: waits for all, and opens a fresh cursor for the next
 * operation. What threads wrote before is visible to all after. */
void bk_pool_barrier(bk_pool *p);

/* The next chunk index of the current operation, 0, 1, 2, ... shared by all threads: each index is
 * handed out once. Callers stop at their own count. */
size_t bk_pool_next(bk_pool *p);

/* The same for chunks that lie side by side in memory: of n chunks, the same n on every thread, each
 * thread has a run of its own, which it takes in order, so that it reads one stream; then the last
 * chunks of those who are behind. False when all are taken. n < 2^32. */
bool bk_pool_share(bk_pool *p, int thread, size_t n, size_t *chunk);
/* Where the run of a thread begins: what it will take first. */
size_t bk_pool_share_begin(const bk_pool *p, int thread, size_t n);

#endif
