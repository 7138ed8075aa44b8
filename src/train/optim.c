#include "train/optim.h"

#include <math.h>

double bk_optim_lr(const bk_train_options *o, int step) {
    if (step < o->warmup) return (double)o->lr * (step + 1) / o->warmup;
    int left = o->steps - 1 - o->warmup;
    double done = left > 0 ? (double)(step - o->warmup) / left : 1;
    if (done > 1) done = 1;
    return o->min_lr + (o->lr - o->min_lr) * 0.5 * (1 + cos(3.141592653589793 * done));
}

/* The next run of tensors that are treated alike, from i on. */
static size_t run_end(const bk_params *p, size_t i) {
    size_t end = i + 1;
    while (end < p->n && p->list[end].matrix == p->list[i].matrix &&
           p->list[end].frozen == p->list[i].frozen)
        end++;
    return end;
}

/* Gradients of weights that must not move are nothing to the norm either. */
static void clear_frozen(bk_params *p) {
    const struct bk_nn_ops *ops = p->nn->ops;
    for (size_t i = 0, end; i < p->n; i = end) {
        end = run_end(p, i);
        size_t at = p->list[i].at, to = end < p->n ? p->list[end].at : p->words;
        if (p->list[i].frozen) ops->zero(p->nn, (bk_vec){p->grad, at}, to - at);
    }
    if (p->mask) ops->mul(p->nn, (bk_vec){p->grad, 0}, (bk_vec){p->mask, 0}, p->words);
}

bk_status bk_optim_step(const bk_train_options *o, bk_params *p, int step, double *norm,
                        bk_error *err) {
    const struct bk_nn_ops *ops = p->nn->ops;
    clear_frozen(p);
    *norm = sqrt(ops->sum_squares(p->nn, (bk_vec){p->grad, 0}, p->words));
    if (!isfinite(*norm)) {
        ops->zero(p->nn, (bk_vec){p->grad, 0}, p->words);
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
    for (size_t i = 0, end; i < p->n; i = end) {
        end = run_end(p, i);
        size_t at = p->list[i].at;
        a.n = (end < p->n ? p->list[end].at : p->words) - at;
        a.decay = p->list[i].matrix ? o->decay : 0;
        a.w = (bk_vec){p->w, at};
        a.grad = (bk_vec){p->grad, at};
        a.m = (bk_vec){p->m, at};
        a.v = (bk_vec){p->v, at};
        if (!p->list[i].frozen) ops->adamw(p->nn, &a);
    }
    bk_params_refresh(p);
    return BK_OK;
}
