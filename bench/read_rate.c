/* read_rate BYTES THREADS: how fast a buffer of that size can be read, in bytes per second, the best
 * of many passes. What decoding cannot pass: each token reads every weight once. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef uint64_t wide __attribute__((vector_size(64)));

enum { MAX_THREADS = 256, LINES = 8, AHEAD = 4096, LEAST_PASSES = 8 };

typedef struct share {
    const wide *from;
    size_t n; /* a multiple of LINES */
    wide sum;
} share;

static pthread_barrier_t barrier;
static volatile int stop;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void read_all(share *s) {
    wide a[LINES] = {0};
    for (size_t i = 0; i < s->n; i += LINES) {
        for (int k = 0; k < LINES; k++) {
            __builtin_prefetch((const char *)(s->from + i + k) + AHEAD);
            a[k] ^= s->from[i + k];
        }
    }
    for (int k = 0; k < LINES; k++) s->sum ^= a[k];
}

static void *work(void *arg) {
    for (;;) {
        pthread_barrier_wait(&barrier);
        if (stop) return NULL;
        read_all(arg);
        pthread_barrier_wait(&barrier);
    }
}

int main(int argc, char **argv) {
    size_t bytes = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
    int threads = argc == 3 ? (int)strtol(argv[2], NULL, 10) : 0;
    if (threads < 1 || threads > MAX_THREADS || bytes < 65536 * (size_t)threads) {
        fprintf(stderr, "usage: read_rate BYTES THREADS, at least 64 KiB for each thread\n");
        return 2;
    }
    size_t each = bytes / (size_t)threads / (sizeof(wide) * LINES) * LINES;
    size_t all = each * (size_t)threads * sizeof(wide);
    void *buffer = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) {
        fprintf(stderr, "read_rate: no memory for %zu bytes\n", all);
        return 1;
    }
    madvise(buffer, all, MADV_HUGEPAGE);
    memset(buffer, 1, all);

    static share shares[MAX_THREADS];
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        shares[i] = (share){.from = (const wide *)buffer + (size_t)i * each, .n = each};
        pthread_t thread;
        if (i > 0 && pthread_create(&thread, NULL, work, &shares[i]) != 0) return 1;
    }
    double best = 0, begin = now();
    for (int pass = 0; pass < LEAST_PASSES || now() - begin < 1; pass++) {
        pthread_barrier_wait(&barrier);
        double start = now();
        read_all(&shares[0]);
        pthread_barrier_wait(&barrier);
        double rate = (double)all / (now() - start);
        if (rate > best) best = rate;
    }
    stop = 1;
    pthread_barrier_wait(&barrier);
    uint64_t sum = 0;
    for (int i = 0; i < threads; i++) sum ^= shares[i].sum[0];
    /* The sum is used, so the reads cannot be left out. */
    return printf("%.0f\n", best + (sum == 1 ? 1 : 0)) < 0;
}
