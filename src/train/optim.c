#include "train/optim.h"

#include <math.h>

double bk_optim_lr(const bk_train_options *o, int step) {
    if (step < o->warmup) return (double)o->lr * (step + 1) / o->warmup;
    int left = o->steps - 1 - o->warmup;
    double done = left > 0 ? (double)(step - o->warmup) / left : 1;
    if (done > 1) done = 1;
    return o->min_lr + (o->lr - o->min_lr) * 0.5 * (1 + cos(3.141592653589793 * done));
}

bk_status bk_optim_step(const bk_train_options *o, bk_params *p, int step, double *norm,
                        bk_error *err) {
    const struct bk_nn_ops *ops = p->nn->ops;
    if (p->mask) ops->mul(p->nn, (bk_vec){p->grad, 0}, (bk_vec){p->mask, 0}, p->learned);
    *norm = sqrt(ops->sum_squares(p->nn, (bk_vec){p->grad, 0}, p->learned));
    if (!isfinite(*norm)) {
        ops->zero(p->nn, (bk_vec){p->grad, 0}, p->learned);
        return bk_fail(
            err, BK_ERR_FORMAT,
            "the gradients of step %d are not numbers: the learning rate %g is too high; "
            "go on from the last checkpoint with a lower one",
            step + 1, (double)o->lr);
    }
    double scale = o->clip > 0 && *norm > o->clip ? o->clip / *norm : 1;
    bk_adamw a = {.lr = (float)bk_optim_lr(o, step),
                  .b1 = o->b1,
                  .b2 = o->b2,
                  .eps = o->eps,
                  .fix1 = (float)(1 - pow(o->b1, step + 1)),
                  .fix2 = (float)(1 - pow(o->b2, step + 1)),
                  .grad_scale = (float)scale};
    const struct {
        size_t from, to;
        float decay;
    } parts[] = {{0, p->vectors, 0}, {p->vectors, p->learned, o->decay}};
    for (size_t i = 0; i < BK_ARRAY_LEN(parts); i++) {
        size_t at = parts[i].from;
        a.n = parts[i].to - at;
        a.decay = parts[i].decay;
        a.w = (bk_vec){p->w, at};
        a.grad = (bk_vec){p->grad, at};
        a.m = (bk_vec){p->m, at};
        a.v = (bk_vec){p->v, at};
        if (a.n > 0) ops->adamw(p->nn, &a);
    }
    bk_params_refresh(p);
    return BK_OK;
}
