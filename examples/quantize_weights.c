/* Float weights to 8- and 4-bit integers and back, through the public API: what is lost, and how small they
 * become.
 *
 *     cc quantize_weights.c $(pkg-config --cflags --libs brisk) -lm -o quantize_weights
 *     ./quantize_weights
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "brisk_compress.h"

enum { ROWS = 512, K = 1024 };

/* About normal, the same on every machine. */
static float weight(unsigned *state) {
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(*state >> 8) / (float)(1 << 24) - 0.5f;
    }
    return 0.02f * sum;
}

static int report(const char *type, brisk_rounding how, const float *w, const float *importance) {
    brisk_block_type t;
    brisk_error err;
    if (brisk_block_type_find(type, &t, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    size_t bytes = (size_t)ROWS * K / t.length * t.bytes;
    void *blocks = malloc(bytes);
    float *back = malloc(sizeof *back * ROWS * K);
    brisk_status st = BRISK_ERR_NOMEM;
    if (blocks && back) st = brisk_round_weights(type, how, w, ROWS, K, importance, blocks, &err);
    if (!st) st = brisk_read_weights(type, blocks, ROWS, K, back, &err);
    double error = 0, norm = 0;
    for (size_t i = 0; !st && i < (size_t)ROWS * K; i++) {
        double d = (double)w[i] - (double)back[i];
        error += importance[i % K] * d * d;
        norm += importance[i % K] * (double)w[i] * (double)w[i];
    }
    if (!st)
        printf("%-8s %-8s %9zu bytes  %6.3f bits a weight  relative error %.5f\n", t.name,
               how == BRISK_ROUND_PLAIN ? "plain" : "searched", bytes,
               8.0 * (double)bytes / (ROWS * K), sqrt(error / norm));
    else
        fprintf(stderr, "%s\n", blocks && back ? err.text : "no memory");
    free(blocks);
    free(back);
    return st != BRISK_OK;
}

int main(void) {
    float *w = malloc(sizeof *w * ROWS * K), *importance = malloc(sizeof *importance * K);
    unsigned state = 1;
    if (!w || !importance) return 1;
    for (size_t i = 0; i < (size_t)ROWS * K; i++) w[i] = weight(&state);
    /* Inputs differ in size: what an error of their columns costs differs by the square. */
    for (size_t k = 0; k < K; k++) importance[k] = 1 + 15 * (float)(k % 8 == 0);
    printf("F32               %9zu bytes  32.000 bits a weight\n", sizeof *w * ROWS * K);
    int bad = 0;
    bad |= report("q8_0", BRISK_ROUND_PLAIN, w, importance);
    bad |= report("q4_0", BRISK_ROUND_PLAIN, w, importance);
    bad |= report("q4_0", BRISK_ROUND_SEARCH, w, importance);
    bad |= report("q4_k", BRISK_ROUND_SEARCH, w, importance);
    free(w);
    free(importance);
    return bad;
}
