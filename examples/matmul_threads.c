/* The matrix product on one thread and on several: y = W x for 512 vectors x, the weights as floats
 * and in 8 and 4 bits. Results are compared: threads must not change a bit, and the type no more than
 * its rounding.
 *
 *     matmul_threads [THREADS [SIZE]]
 *
 * THREADS 0: as many as there are cores. Build:
 *     cc matmul_threads.c $(pkg-config --cflags --libs brisk) -lm
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <brisk_matrix.h>

enum { VECTORS = 512 };

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Numbers that look random and are the same on every machine: -1 .. 1. */
static float *numbers(size_t n, unsigned seed) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

/* Billions of operations per second of the best of five products; 0 after an error. */
static double measure(const char *type, int threads, size_t size, const float *rows, const float *x,
                      float *out, int *used) {
    brisk_matrix_options options = {.threads = threads};
    brisk_matrix *w = NULL;
    brisk_matrix_info info;
    brisk_error err;
    double best = 0;
    if (brisk_matrix_create(type, rows, size, size, &options, &w, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 0;
    }
    brisk_matrix_get_info(w, &info);
    *used = info.threads;
    for (int i = 0; i < 5; i++) {
        double start = now();
        if (brisk_matrix_multiply(w, x, VECTORS, out, &err)) {
            fprintf(stderr, "%s\n", err.text);
            best = 0;
            break;
        }
        double seconds = now() - start, ops = 2.0 * VECTORS * (double)size * (double)size;
        if (ops / seconds > best) best = ops / seconds;
    }
    brisk_matrix_destroy(&w);
    return best / 1e9;
}

/* The largest difference from the product of floats, as a share of the largest result. */
static double distance(const float *a, const float *b, size_t n) {
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        scale = fmax(scale, fabs((double)b[i]));
    }
    return most / scale;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        double rounding; /* share of the largest result that rounding may cost */
    } types[] = {{"f32", 1e-6}, {"bf16", 0.01}, {"q8_0", 0.02}, {"q4_0", 0.15}};
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024, n = VECTORS * size;
    if (size < 32 || size > 8192 || size % 32 != 0) {
        fprintf(stderr, "SIZE is a multiple of 32 up to 8192\n");
        return 1;
    }
    float *rows = numbers(size * size, 1), *x = numbers(n, 2);
    float *exact = malloc(n * sizeof *exact), *one = malloc(n * sizeof *one),
          *many = malloc(n * sizeof *many);
    int wrong = !rows || !x || !exact || !one || !many;
    printf("%zu x %zu weights times %d vectors, in billions of operations per second\n", size, size,
           VECTORS);
    for (size_t t = 0; t < sizeof types / sizeof *types && !wrong; t++) {
        int used = 1;
        double slow = measure(types[t].name, 1, size, rows, x, one, &used);
        double fast = measure(types[t].name, threads, size, rows, x, many, &used);
        if (t == 0) memcpy(exact, one, n * sizeof *exact);
        double far = distance(one, exact, n);
        int same = memcmp(one, many, n * sizeof *one) == 0;
        wrong |= slow <= 0 || fast <= 0 || !same || !(far <= types[t].rounding);
        printf("%-5s 1 thread %7.1f, %d threads %7.1f: %.2f times; %s bits; %.2g from f32\n",
               types[t].name, slow, used, fast, slow > 0 ? fast / slow : 0,
               same ? "the same" : "DIFFERENT", far);
    }
    free(rows), free(x), free(exact), free(one), free(many);
    return wrong;
}
