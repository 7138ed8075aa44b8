/* Reverse-mode differentiation (Linnainmaa 1970): operations of device/nn.h are run and noted one after
 * another; going back over the notes gives the gradient of the losses with respect to everything that
 * went in. The simple network lives on it; for the language models, whose way back is written by hand,
 * it is the second opinion of their tests.
 *
 *     int x = bk_tape_input(t, data, rows, n_in);
 *     int h = bk_tape_act(t, BK_ACT_RELU, bk_tape_linear(t, x, w1, b1));
 *     bk_tape_cross_entropy(t, bk_tape_linear(t, h, w2, b2), classes, 1.0f / rows);
 *     status = bk_tape_backward(t, &err);   // the first failure of any call above
 *     loss = bk_tape_loss(t);
 *     bk_tape_reset(t);
 *
 * Values are matrices, named by a number; a negative one stands for what could not be made and may be
 * passed on. Shapes are checked. A value may be used any number of times: its gradients add up. */
#ifndef BRISK_TRAIN_TAPE_H
#define BRISK_TRAIN_TAPE_H

#include "device/nn.h"

typedef struct bk_tape bk_tape;

enum { BK_TAPE_NONE = -1 };

/* d is borrowed. NULL when memory is short. */
bk_tape *bk_tape_create(bk_nn *d);
void bk_tape_destroy(bk_tape **t);
/* Forgets all values and failures, keeps the memory. */
void bk_tape_reset(bk_tape *t);

/* What goes in, borrowed until reset: data without a gradient; a parameter, whose gradient is added to
 * grad. [rows][cols] */
int bk_tape_input(bk_tape *t, bk_vec value, size_t rows, size_t cols);
int bk_tape_param(bk_tape *t, bk_vec value, bk_vec grad, size_t rows, size_t cols);

/* x[R][k] W^T + bias: w[n][k], bias[1][n] or BK_TAPE_NONE; [R][n]. */
int bk_tape_linear(bk_tape *t, int x, int w, int bias);
/* The rows of table[n][dim] that the R ids name; [R][dim]. */
int bk_tape_embed(bk_tape *t, bk_vec ids, size_t R, int table);
/* w[1][cols of x] */
int bk_tape_rms_norm(bk_tape *t, int x, int w, float eps);
/* Position of row r: r % T. */
int bk_tape_rope(bk_tape *t, int x, size_t T, int n_heads, int head_size, float theta);
/* q[B*T][n_heads * head_size], k and v [B*T][n_kv_heads * head_size]; as q. */
int bk_tape_attention(bk_tape *t, int q, int k, int v, size_t T, int n_heads, int n_kv_heads);
int bk_tape_silu_mul(bk_tape *t, int gate, int up);
int bk_tape_act(bk_tape *t, bk_act kind, int x);
/* Element by element, of one shape. */
int bk_tape_mul(bk_tape *t, int a, int b);
int bk_tape_add(bk_tape *t, int a, int b);
/* Columns, or rows, from .. from + n of x. */
int bk_tape_columns(bk_tape *t, int x, size_t from, size_t n);
int bk_tape_rows(bk_tape *t, int x, size_t from, size_t n);
/* Of the generator's words (seed, at + i). */
int bk_tape_dropout(bk_tape *t, int x, float p, uint64_t seed, uint64_t at);
/* Loss of each row of x, [R][1]; target[R] in 0 .. cols - 1, negative: no loss. The sum of all of them,
 * each times its scale, is what backward takes the gradient of. */
int bk_tape_cross_entropy(bk_tape *t, int x, bk_vec target, float scale);

bk_vec bk_tape_value(const bk_tape *t, int v);
/* Of the last backward; no memory where no parameter went in. */
bk_vec bk_tape_grad(const bk_tape *t, int v);

/* Gradients of all values, once after the last operation. INVALID (shapes), NOMEM. */
bk_status bk_tape_backward(bk_tape *t, bk_error *err);
/* What backward takes the gradient of; waits for the device. */
double bk_tape_loss(bk_tape *t);

#endif
