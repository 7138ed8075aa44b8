#include "compress/frontier.h"

#include <math.h>

/* Of the dense points other than one those that no other dense point beats, the fastest first; their
 * losses fall. */
typedef struct line {
    int at[BK_FRONTIER_MOST];
    int n;
} line;

static bool beats(const bk_point *a, const bk_point *b) {
    return a->speed >= b->speed && a->loss <= b->loss && (a->speed > b->speed || a->loss < b->loss);
}

static line dense_line(const bk_point *p, size_t n, size_t without) {
    line l = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        bool beaten = i == without || !p[i].dense;
        for (size_t k = 0; k < n && !beaten; k++)
            beaten = k != without && p[k].dense && beats(&p[k], &p[i]);
        if (beaten) continue;
        int at = l.n++;
        for (; at > 0 && p[l.at[at - 1]].speed < p[i].speed; at--) l.at[at] = l.at[at - 1];
        l.at[at] = (int)i;
    }
    return l;
}

/* y on the line through (x0, y0) and (x1, y1). */
static double between(double x, double x0, double y0, double x1, double y1) {
    return x1 == x0 ? y0 : y0 + (x - x0) / (x1 - x0) * (y1 - y0);
}

static bk_rival loss_at(const bk_point *p, const line *l, double speed) {
    for (int i = 0; i < l->n; i++) {
        const bk_point *slow = &p[l->at[i]];
        if (slow->speed > speed && i + 1 < l->n) continue;
        if (slow->speed >= speed || i == 0) {
            if (slow->speed < speed) break; /* the fastest is slower */
            return (bk_rival){l->at[i], l->at[i], slow->loss};
        }
        const bk_point *fast = &p[l->at[i - 1]];
        return (
            bk_rival){l->at[i - 1], l->at[i],
                      between(1 / speed, 1 / fast->speed, fast->loss, 1 / slow->speed, slow->loss)};
    }
    return (bk_rival){-1, -1, 0};
}

static bk_rival speed_at(const bk_point *p, const line *l, double loss) {
    for (int i = 0; i < l->n; i++) {
        const bk_point *slow = &p[l->at[i]];
        if (slow->loss > loss) continue;
        if (i == 0) return (bk_rival){l->at[0], l->at[0], slow->speed};
        const bk_point *fast = &p[l->at[i - 1]];
        double time = between(loss, fast->loss, 1 / fast->speed, slow->loss, 1 / slow->speed);
        return (bk_rival){l->at[i - 1], l->at[i], 1 / time};
    }
    return (bk_rival){-1, -1, 0};
}

static bool is_beaten(const bk_point *p, size_t n, size_t i, const line *l, double speed, int *by) {
    bk_point me = p[i];
    me.speed = speed;
    *by = -1;
    for (size_t k = 0; k < n; k++) {
        if (k == i || !beats(&p[k], &me)) continue;
        if (*by < 0 || p[k].loss < p[*by].loss) *by = (int)k;
    }
    bk_rival rival = loss_at(p, l, speed);
    return *by >= 0 || (!me.dense && rival.fast >= 0 && rival.value < me.loss);
}

bk_judgement bk_frontier_judge(const bk_point *p, size_t n, size_t i) {
    line l = dense_line(p, n, i);
    bk_judgement j = {.equal_speed = loss_at(p, &l, p[i].speed),
                      .equal_quality = speed_at(p, &l, p[i].loss)};
    int ignored;
    j.dominated = is_beaten(p, n, i, &l, p[i].speed, &j.by);
    for (int side = -1; side <= 1; side += 2)
        if (is_beaten(p, n, i, &l, p[i].speed * (1 + side * p[i].spread), &ignored) != j.dominated)
            j.tie = true;
    return j;
}
