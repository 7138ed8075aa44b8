/* The table of a level (kernel/nn.h), for nn_LEVEL.c; the portable one, unless that file has chosen
 * lanes, registers and a name before. */
#ifndef BRISK_KERNEL_NN_TABLE_H
#define BRISK_KERNEL_NN_TABLE_H

#include "kernel/nn_attention_loops.h"

#ifndef TABLE
#define TABLE bk_nn_kernels_ref
#define LEVEL BK_CPU_REF
#endif

const bk_nn_kernels TABLE = {
    .level = LEVEL,
    .dot = dot,
    .axpy = axpy,
    .add = add,
    .mul = mul,
    .scale = scale,
    .col_sum = col_sum,
    .sum = sum,
    .sum_squares = sum_squares,
    .rms_norm = rms_norm,
    .rms_norm_bwd = rms_norm_bwd,
    .rotate = rotate,
    .silu_mul = silu_mul,
    .silu_mul_bwd = silu_mul_bwd,
    .act = {relu, tanh_, sigmoid, gelu},
    .act_bwd = {relu_bwd, tanh__bwd, sigmoid_bwd, gelu_bwd},
    .lstm = lstm,
    .lstm_bwd = lstm_bwd,
    .dropout = dropout,
    .log_sum = log_sum,
    .exp_scaled = exp_scaled,
    .adam = adam,
    .attention = attention,
    .attention_bwd = attention_bwd,
};

#endif
