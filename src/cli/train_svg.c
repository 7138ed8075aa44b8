/* Training losses jump from batch to batch: they are drawn pale as they are, and strong as the mean of
 * their neighbours. What is above the axis is cut. */
#include "cli/train_svg.h"

#include <math.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/svg.h"

enum {
    WIDTH = 760,
    HEIGHT = 440,
    LEFT = 70,
    RIGHT = WIDTH - 92, /* room for the last numbers */
    TOP = 92,
    BOTTOM = HEIGHT - 54,
    COLUMNS = 600 /* of the pale line: more points than that become their lowest and highest */
};

static const char style[] =
    "<style>.tr text{font:12px system-ui,sans-serif;fill:#1c1e21}.tr .t{font-size:16px;"
    "font-weight:600}.tr .n{font-size:11px;fill:#5b6168}.tr .g{stroke:#e4e6e9}.tr .b{fill:#fff}"
    ".tr path{fill:none}.tr .raw{stroke:#2a6fc9;stroke-opacity:.28}"
    ".tr .s0{stroke:#2a6fc9;stroke-width:2}.tr .s1{stroke:#c8541b;stroke-width:2}"
    ".tr .s2{stroke:#5b6168;stroke-width:1.5;stroke-dasharray:6 4}.tr .f0{fill:#2a6fc9}"
    ".tr .f1{fill:#c8541b}.tr .best{fill:#fff;stroke:#c8541b;stroke-width:2}"
    "@media(prefers-color-scheme:dark){.tr text{fill:#e6e8eb}.tr .n{fill:#9aa2ab}"
    ".tr .g{stroke:#30343a}.tr .b{fill:#15171a}.tr .raw,.tr .s0{stroke:#4b93ee}"
    ".tr .s1,.tr .best{stroke:#ef8a4f}.tr .s2{stroke:#9aa2ab}.tr .f0{fill:#4b93ee}"
    ".tr .f1{fill:#ef8a4f}.tr .best{fill:#15171a}}</style>\n";

typedef struct axes {
    double x0, x1, y0, y1; /* steps; losses, or their logarithms */
    bool log;
} axes;

static double px(const axes *a, double step) {
    return LEFT + (step - a->x0) / (a->x1 - a->x0) * (RIGHT - LEFT);
}

static double py(const axes *a, double loss) {
    double v = a->log ? log10(fmax(loss, 1e-30)) : loss;
    double part = (v - a->y0) / (a->y1 - a->y0);
    return BOTTOM - fmax(-0.1, fmin(part, 1.1)) * (BOTTOM - TOP);
}

/* The mean of the losses around point i: as many on each side, but at the end, where there are none. */
static double smoothed(const train_plot *p, size_t i) {
    size_t half = bk_min_size(bk_max_size(p->n_train / 60, 2), i);
    size_t end = bk_min_size(i + half + 1, p->n_train);
    double sum = 0;
    for (size_t k = i - half; k < end; k++) sum += p->train[k].loss;
    return sum / (double)(half + end - i);
}

static void reach(axes *a, double loss) {
    a->y0 = fmin(a->y0, loss);
    a->y1 = fmax(a->y1, loss);
}

static axes axes_of(const train_plot *p) {
    axes a = {.x0 = 0, .x1 = 1, .y0 = INFINITY, .y1 = -INFINITY};
    /* The fall from chance would leave no room for the rest. */
    for (size_t i = p->n_train / 25; i < p->n_train; i++) reach(&a, smoothed(p, i));
    for (size_t i = 0; i < p->n_valid; i++) reach(&a, p->valid[i].loss);
    if (p->floor > 0) reach(&a, p->floor);
    if (p->n_train) a.x0 = p->train[0].step, a.x1 = p->train[p->n_train - 1].step;
    if (p->n_valid) {
        a.x0 = p->n_train ? fmin(a.x0, p->valid[0].step) : p->valid[0].step;
        a.x1 = fmax(a.x1, p->valid[p->n_valid - 1].step);
    }
    if (a.x0 < 0.05 * a.x1) a.x0 = 0;
    if (a.x1 <= a.x0) a.x1 = a.x0 + 1;
    /* Losses of classes fall by orders of magnitude, those of text by a third. */
    a.log = a.y0 > 0 && a.y1 / a.y0 > 12;
    if (a.log) a.y0 = log10(a.y0), a.y1 = log10(a.y1);
    double margin = fmax((a.y1 - a.y0) * 0.06, 1e-3);
    a.y1 += margin;
    a.y0 -= margin;
    if (!a.log && a.y0 < 0) a.y0 = 0;
    return a;
}

static void draw_axes(const train_plot *p, const axes *a, bk_buf *out) {
    const svg_area area = {.left = LEFT, .right = RIGHT, .top = TOP, .bottom = BOTTOM};
    double v[SVG_TICKS];
    char name[32];
    size_t n = a->log ? svg_log_ticks(a->y0, a->y1, v) : svg_ticks(a->y0, a->y1, 6, v);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%g", v[i]);
        svg_grid_y(out, &area, py(a, v[i]), name);
    }
    n = svg_ticks(a->x0, a->x1, 8, v);
    for (size_t i = 0; i < n; i++) {
        if (v[i] != floor(v[i])) continue;
        snprintf(name, sizeof name, "%.0f", v[i]);
        svg_grid_x(out, &area, px(a, v[i]), name);
    }
    bk_buf_printf(out,
                  "<text class=\"n\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">steps</text>"
                  "<text class=\"n\" text-anchor=\"middle\" transform=\"translate(18 %d) "
                  "rotate(-90)\">loss",
                  (LEFT + RIGHT) / 2, BOTTOM + 36, (TOP + BOTTOM) / 2);
    if (p->unit && p->unit[0]) bk_buf_append_str(out, ", ");
    if (p->unit) cli_put_markup(out, p->unit);
    bk_buf_append_str(out, a->log ? " (logarithmic)</text>\n" : "</text>\n");
}

static void move_to(bk_buf *out, bool first, double x, double y) {
    bk_buf_printf(out, "%c%.1f %.1f", first ? 'M' : 'L', x, y);
}

static void draw_raw(const train_plot *p, const axes *a, bk_buf *out) {
    size_t step = bk_div_up(p->n_train, COLUMNS);
    bk_buf_append_str(out, "<path class=\"raw\" clip-path=\"url(#area)\" d=\"");
    for (size_t i = 0; i < p->n_train; i += step) {
        size_t end = bk_min_size(i + step, p->n_train);
        double low = p->train[i].loss, high = low, x = px(a, p->train[i].step);
        for (size_t k = i; k < end; k++) {
            low = fmin(low, p->train[k].loss);
            high = fmax(high, p->train[k].loss);
        }
        move_to(out, i == 0, x, py(a, high));
        if (high > low) move_to(out, false, x, py(a, low));
    }
    bk_buf_append_str(out, "\"/>\n");
}

static void draw_smoothed(const train_plot *p, const axes *a, bk_buf *out) {
    size_t step = bk_div_up(p->n_train, COLUMNS);
    bk_buf_append_str(out, "<path class=\"s0\" clip-path=\"url(#area)\" d=\"");
    for (size_t i = 0; i < p->n_train; i += step)
        move_to(out, i == 0, px(a, p->train[i].step), py(a, smoothed(p, i)));
    bk_buf_append_str(out, "\"/>\n");
}

static const train_point *best_of(const train_plot *p) {
    const train_point *best = p->valid;
    for (size_t i = 1; i < p->n_valid; i++)
        if (p->valid[i].loss < best->loss) best = &p->valid[i];
    return best;
}

static void draw_valid(const train_plot *p, const axes *a, bk_buf *out) {
    const train_point *best = best_of(p);
    bk_buf_append_str(out, "<path class=\"s1\" clip-path=\"url(#area)\" d=\"");
    for (size_t i = 0; i < p->n_valid; i++)
        move_to(out, i == 0, px(a, p->valid[i].step), py(a, p->valid[i].loss));
    bk_buf_append_str(out, "\"/>\n");
    for (size_t i = 0; i < p->n_valid && p->n_valid <= 60; i++)
        bk_buf_printf(out, "<circle class=\"f1\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>",
                      px(a, p->valid[i].step), py(a, p->valid[i].loss));
    bk_buf_printf(out, "<circle class=\"best\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>\n",
                  px(a, best->step), py(a, best->loss));
}

/* The last value of each line stands at its end, apart from each other. */
static void draw_ends(const train_plot *p, const axes *a, bk_buf *out) {
    double ends[2], y[2];
    int kinds[2], n = 0;
    if (p->n_train) ends[n] = smoothed(p, p->n_train - 1), kinds[n++] = 0;
    if (p->n_valid) ends[n] = p->valid[p->n_valid - 1].loss, kinds[n++] = 1;
    for (int i = 0; i < n; i++) y[i] = py(a, ends[i]) + 4;
    if (n == 2 && fabs(y[0] - y[1]) < 14) {
        double middle = (y[0] + y[1]) / 2, half = ends[0] < ends[1] ? 7 : -7;
        y[0] = middle + half, y[1] = middle - half;
    }
    for (int i = 0; i < n; i++)
        bk_buf_printf(out, "<text class=\"f%d\" x=\"%d\" y=\"%.1f\">%.*g</text>\n", kinds[i],
                      RIGHT + 8, y[i], ends[i] < 0.1 ? 2 : 4, ends[i]);
}

static void draw_floor(const train_plot *p, const axes *a, bk_buf *out) {
    double y = py(a, p->floor);
    bk_buf_printf(out,
                  "<path class=\"s2\" d=\"M%d %.1fH%d\"/><text class=\"n\" x=\"%d\" y=\"%.1f\">",
                  LEFT, y, RIGHT, LEFT + 8, y + 14);
    cli_put_markup(out, p->floor_name ? p->floor_name : "floor");
    bk_buf_printf(out, ": %.4g</text>\n", p->floor);
}

static void draw_legend(const train_plot *p, bk_buf *out) {
    static const char *const names[] = {"training (pale: each step)", "validation"};
    double x = LEFT;
    for (int i = 0; i < 2; i++) {
        if ((i ? p->n_valid : p->n_train) == 0) continue;
        bk_buf_printf(
            out, "<path class=\"s%d\" d=\"M%.0f %dh22\"/><text x=\"%.0f\" y=\"%d\">%s</text>\n", i,
            x, TOP - 20, x + 28, TOP - 16, names[i]);
        x += 210;
    }
    if (p->n_valid == 0) return;
    const train_point *best = best_of(p);
    x -= 90;
    bk_buf_printf(out,
                  "<circle class=\"best\" cx=\"%.0f\" cy=\"%d\" r=\"4.5\"/><text x=\"%.0f\" "
                  "y=\"%d\">best score: %.4g at step %d</text>\n",
                  x, TOP - 20, x + 10, TOP - 16, best->loss, best->step);
}

static void draw_head(const train_plot *p, bk_buf *out) {
    bk_buf_printf(out, "<text class=\"t\" x=\"20\" y=\"30\">");
    cli_put_markup(out, p->title ? p->title : "Training");
    bk_buf_append_str(out, "</text>\n<text class=\"n\" x=\"20\" y=\"50\">");
    if (p->machine) cli_put_markup(out, p->machine);
    if (p->machine && p->date) bk_buf_append_str(out, ", ");
    if (p->date) cli_put_markup(out, p->date);
    bk_buf_append_str(out, "</text>\n");
}

void cli_train_plot(const train_plot *p, bk_buf *out) {
    if (p->n_train + p->n_valid == 0) return;
    axes a = axes_of(p);
    bk_buf_printf(out,
                  "<svg class=\"tr\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                  "width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"Losses over steps\">\n%s"
                  "<clipPath id=\"area\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>"
                  "</clipPath><rect class=\"b\" width=\"%d\" height=\"%d\"/>\n",
                  WIDTH, HEIGHT, WIDTH, HEIGHT, style, LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, WIDTH,
                  HEIGHT);
    draw_head(p, out);
    draw_legend(p, out);
    draw_axes(p, &a, out);
    if (p->n_train) {
        draw_raw(p, &a, out);
        draw_smoothed(p, &a, out);
    }
    if (p->floor > 0) draw_floor(p, &a, out);
    if (p->n_valid) draw_valid(p, &a, out);
    draw_ends(p, &a, out);
    bk_buf_append_str(out, "</svg>\n");
}
