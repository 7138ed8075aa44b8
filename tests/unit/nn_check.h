/* Checks of training operations (device/nn.h). A case names float arrays, how the device computes with
 * them and how double does; nn_check compares, and takes what backward has to give from central
 * differences of the double version, so that no gradient is derived twice by the same hand.
 *
 * An array that an operation overwrites is the input and the output: the double version does the same. */
#ifndef BRISK_TESTS_NN_CHECK_H
#define BRISK_TESTS_NN_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/nn.h"

enum { NN_ARRAYS = 12, NN_OUTPUTS = 3, NN_GRADS = 8, NN_DIMS = 8 };

typedef struct nn_case nn_case;

struct nn_case {
    const char *name;
    size_t dim[NN_DIMS]; /* shapes, for the functions below */
    size_t n[NN_ARRAYS]; /* floats of each array; up to the first 0 */
    unsigned ids;        /* arrays that hold ids, as bits */
    size_t n_ids;        /* ids are below this */
    /* What arrays begin with; NULL: (-1, 1), or ids. */
    void (*fill)(const nn_case *c, double **a, bk_rng *r);

    void (*truth)(const nn_case *c, double **a);
    void (*run)(const nn_case *c, bk_nn *d, const bk_vec *v);
    void (*run_bwd)(const nn_case *c, bk_nn *d, const bk_vec *v); /* after run; NULL: none */
    /* The loss is the sum of outputs times their gradients. */
    int n_out;
    struct {
        int y, dy;
    } out[NN_OUTPUTS];
    /* Inputs and where backward leaves their gradients; `add`: beside what was there. */
    int n_grad;
    struct {
        int of, in;
        bool add;
    } grad[NN_GRADS];
    double tolerance; /* of a value v: this times 1 + |v|; 0: 2e-6 */
    size_t samples;   /* places of each gradient that are looked at, all below; 0: 48 */
};

/* Forward and backward on every level with 1, 2 and 4 threads: near the double version, and equal
 * bits whatever the threads; with `levels` whatever the level too. */
void nn_check_case(const nn_case *c, bool levels);
#define nn_check(...) nn_check_case(&(nn_case){__VA_ARGS__}, true)

bk_nn *nn_device(bk_cpu_level level, int threads);
/* Memory of n words: random floats in (low, high). */
bk_vec nn_random(bk_nn *d, size_t n, double low, double high, uint64_t seed);
bk_vec nn_floats(bk_nn *d, const float *x, size_t n);
void nn_read(bk_nn *d, bk_vec v, float *out, size_t n);
void nn_free(bk_nn *d, bk_vec v);

#endif
