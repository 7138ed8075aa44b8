/* Quality over speed: what was lost (mean KL from the source, logarithmic, less is up) against how many
 * times as fast; the line is what dense models and mixtures of them reach. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/compare.h"
#include "cli/svg.h"

enum {
    WIDTH = 760,
    HEIGHT = 470,
    LEFT = 74,
    RIGHT = WIDTH - 30,
    TOP = 92,
    BOTTOM = HEIGHT - 56,
    MOST = 64,
    STEPS = 24 /* of the curve between two dense models */
};

static const char style[] =
    "<style>.cm text{font:12px system-ui,sans-serif;fill:#1c1e21}.cm .t{font-size:16px;"
    "font-weight:600}.cm .n{font-size:11px;fill:#5b6168}.cm .g{stroke:#e4e6e9}.cm .b{fill:#fff}"
    ".cm .line{fill:none;stroke:#2a6fc9;stroke-width:1.5;stroke-dasharray:5 4}.cm "
    ".p{stroke-width:2}"
    ".cm .e{stroke:#5b6168}.cm .d1{fill:#2a6fc9;stroke:#2a6fc9}.cm .d0{fill:#c8541b;stroke:#c8541b}"
    ".cm .p.o{fill:#fff}"
    "@media(prefers-color-scheme:dark){.cm text{fill:#e6e8eb}.cm .n{fill:#9aa2ab}"
    ".cm .g{stroke:#30343a}.cm .b,.cm .p.o{fill:#15171a}.cm .line{stroke:#4b93ee}"
    ".cm .e{stroke:#9aa2ab}.cm .d1{fill:#4b93ee;stroke:#4b93ee}"
    ".cm .d0{fill:#ef8a4f;stroke:#ef8a4f}}</style>\n";

typedef struct axes {
    double x0, x1; /* ratios */
    double y0, y1; /* logarithms of KL: y1, at the top, stands for all that is less */
} axes;

static double px(const axes *a, double ratio) {
    return LEFT + (ratio - a->x0) / (a->x1 - a->x0) * (RIGHT - LEFT);
}

static double py(const axes *a, double kl) {
    double v = kl > 0 ? fmax(log10(kl), a->y1) : a->y1;
    return TOP + (a->y1 - v) / (a->y1 - a->y0) * (BOTTOM - TOP);
}

static axes axes_of(const brisk_comparison *c, const compare_view *v) {
    axes a = {.x0 = INFINITY, .x1 = -INFINITY, .y0 = -INFINITY, .y1 = INFINITY};
    for (size_t i = 0; i < c->n_rows; i++) {
        double x = compare_phase(&c->rows[i], v)->ratio, kl = c->rows[i].quality.kl_mean;
        a.x0 = fmin(a.x0, x), a.x1 = fmax(a.x1, x);
        if (kl > 1e-9) a.y0 = fmax(a.y0, log10(kl)), a.y1 = fmin(a.y1, log10(kl));
    }
    if (!isfinite(a.y0)) a.y0 = -1, a.y1 = -3;
    double wide = fmax(a.x1 - a.x0, 0.1), high = fmax(a.y0 - a.y1, 0.3);
    a.x0 = fmax(a.x0 - 0.08 * wide, 0), a.x1 += 0.2 * wide;
    a.y0 += 0.12 * high, a.y1 -= 0.2 * high;
    return a;
}

static void draw_axes(const axes *a, const compare_view *v, bk_buf *out) {
    const svg_area area = {.left = LEFT, .right = RIGHT, .top = TOP, .bottom = BOTTOM};
    double ticks[SVG_TICKS];
    char name[32];
    size_t n = svg_ticks(a->x0, a->x1, 8, ticks);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%g&#215;", ticks[i]);
        svg_grid_x(out, &area, px(a, ticks[i]), name);
    }
    n = svg_log_ticks(a->y1, a->y0, ticks);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%g", ticks[i]);
        svg_grid_y(out, &area, py(a, ticks[i]), name);
    }
    bk_buf_printf(
        out,
        "<text class=\"n\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s speed, times the "
        "source's</text><text class=\"n\" text-anchor=\"middle\" transform=\"translate(18 "
        "%d) rotate(-90)\">mean KL from the source, nats; the edge is 0</text>\n",
        (LEFT + RIGHT) / 2, BOTTOM + 38, v->name, (TOP + BOTTOM) / 2);
}

/* Dense rows that no other dense one beats, by speed. */
static int dense_line(const brisk_comparison *c, const compare_view *v, int at[MOST]) {
    int n = 0;
    for (size_t i = 0; i < c->n_rows && n < MOST; i++) {
        const brisk_compare_row *r = &c->rows[i];
        double speed = compare_phase(r, v)->ratio;
        bool beaten = !r->dense;
        for (size_t k = 0; k < c->n_rows && !beaten; k++) {
            const brisk_compare_row *o = &c->rows[k];
            double other = compare_phase(o, v)->ratio;
            beaten = k != i && o->dense && other >= speed &&
                     o->quality.kl_mean <= r->quality.kl_mean &&
                     (other > speed || o->quality.kl_mean < r->quality.kl_mean);
        }
        if (beaten) continue;
        int to = n++;
        for (; to > 0 && compare_phase(&c->rows[at[to - 1]], v)->ratio > speed; to--)
            at[to] = at[to - 1];
        at[to] = (int)i;
    }
    return n;
}

static void draw_line(const brisk_comparison *c, const compare_view *v, const axes *a,
                      bk_buf *out) {
    int at[MOST], n = dense_line(c, v, at);
    if (n < 2) return;
    bk_buf_append_str(out, "<path class=\"line\" d=\"");
    for (int i = 0; i + 1 < n; i++) {
        const brisk_compare_row *slow = &c->rows[at[i]], *fast = &c->rows[at[i + 1]];
        double t0 = 1 / compare_phase(slow, v)->ratio, t1 = 1 / compare_phase(fast, v)->ratio;
        for (int s = i > 0; s <= STEPS; s++) {
            double share = (double)s / STEPS, kl = slow->quality.kl_mean;
            kl += share * (fast->quality.kl_mean - kl);
            bk_buf_printf(out, "%c%.1f %.1f", i + s ? 'L' : 'M',
                          px(a, 1 / (t0 + share * (t1 - t0))), py(a, kl));
        }
    }
    bk_buf_append_str(out, "\"/>\n");
}

/* ---- Points and their labels -------------------------------------------------------------------- */

typedef struct box {
    double x, y, w, h;
} box;

static bool apart(const box *a, const box *b) {
    return a->x + a->w < b->x || b->x + b->w < a->x || a->y + a->h < b->y || b->y + b->h < a->y;
}

/* Where the label goes: the first place around the point that is free. */
static box place(const box *taken, size_t n, double x, double y, double w) {
    const double places[][2] = {{7, -19}, {-7 - w, -19}, {-w / 2, -24}, {-w / 2, 10},  {9, -7},
                                {7, 5},   {-9 - w, -7},  {-7 - w, 5},   {-w / 2, -38}, {-w / 2, 24},
                                {9, -34}, {9, 20},       {-9 - w, -34}, {-9 - w, 20}};
    box best = {x + 7, y - 19, w, 14};
    for (size_t i = 0; i < BK_ARRAY_LEN(places); i++) {
        box b = {x + places[i][0], y + places[i][1], w, 14};
        bool free = b.x > LEFT && b.x + b.w < WIDTH - 4 && b.y > TOP - 12 && b.y + b.h < BOTTOM;
        for (size_t k = 0; k < n && free; k++) free = apart(&b, &taken[k]);
        if (free) return b;
    }
    return best;
}

static void draw_title(const compare_report *r, const brisk_compare_row *row, const compare_view *v,
                       bk_buf *out) {
    const brisk_compare_phase *p = compare_phase(row, v);
    char size[32], verdict[256];
    bk_buf_append_str(out, "<title>");
    cli_put_markup(out, row->name);
    bk_buf_printf(out,
                  "\n%.1f tokens/s, %.2f times the source (spread %.1f %%)\n%s\nmean KL %.5f, "
                  "perplexity %.3f\n",
                  p->speed, p->ratio, 100 * p->spread,
                  cli_bytes(row->file_bytes, size, sizeof size), row->quality.kl_mean,
                  row->quality.ppl);
    cli_put_markup(out, compare_verdict(r->c, row, v, verdict, sizeof verdict));
    bk_buf_append_str(out, "</title>");
}

static void draw_points(const compare_report *r, const compare_view *v, const axes *a,
                        bk_buf *out) {
    box taken[2 * MOST];
    size_t n = r->c->n_rows < MOST ? r->c->n_rows : MOST;
    for (size_t i = 0; i < n; i++) {
        const brisk_compare_row *row = &r->c->rows[i];
        double x = px(a, compare_phase(row, v)->ratio), y = py(a, row->quality.kl_mean);
        taken[i] = (box){x - 6, y - 6, 12, 12};
    }
    for (size_t i = 0; i < n; i++) {
        const brisk_compare_row *row = &r->c->rows[i];
        const brisk_compare_phase *p = compare_phase(row, v);
        double x = px(a, p->ratio), y = py(a, row->quality.kl_mean);
        double half = p->ratio * p->spread / (a->x1 - a->x0) * (RIGHT - LEFT);
        box b = place(taken, n + i, x, y, 6.2 * (double)strlen(row->name));
        taken[n + i] = b;
        bk_buf_append_str(out, "<g>");
        draw_title(r, row, v, out);
        bk_buf_printf(out, "<path class=\"e\" d=\"M%.1f %.1fH%.1f\"/>", fmax(x - half, LEFT), y,
                      fmin(x + half, RIGHT));
        const char *hollow = p->dominated ? " o" : "";
        if (row->dense)
            bk_buf_printf(out, "<circle class=\"p d1%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", hollow,
                          x, y);
        else
            bk_buf_printf(out, "<path class=\"p d0%s\" d=\"M%.1f %.1fl6 6l-6 6l-6 -6z\"/>", hollow,
                          x, y - 6);
        bk_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\">", b.x, b.y + 11);
        cli_put_markup(out, row->name);
        bk_buf_append_str(out, "</text></g>\n");
    }
}

static void draw_head(const compare_report *r, const compare_view *v, bk_buf *out) {
    bk_buf_printf(out, "<text class=\"t\" x=\"20\" y=\"30\">Quality over %s speed: recipes of ",
                  v->name);
    const char *slash = strrchr(r->source, '/');
    cli_put_markup(out, slash && slash[1] ? slash + 1 : r->source);
    bk_buf_append_str(out, "</text>\n<text class=\"n\" x=\"20\" y=\"50\">");
    cli_put_markup(out, r->cpu);
    bk_buf_printf(
        out,
        ", %s, %d threads, %s</text>\n<circle class=\"p d1\" cx=\"26\" cy=\"70\" r=\"5\"/>"
        "<text class=\"n\" x=\"38\" y=\"74\">dense</text><path class=\"p d0\" d=\"M92 64l6 "
        "6l-6 6l-6 -6z\"/><text class=\"n\" x=\"104\" y=\"74\">pruned</text><circle "
        "class=\"p d1 o\" cx=\"166\" cy=\"70\" r=\"5\"/><text class=\"n\" x=\"178\" "
        "y=\"74\">hollow: dominated</text><path class=\"line\" d=\"M296 70h26\"/><text "
        "class=\"n\" x=\"328\" y=\"74\">dense models and mixtures of two</text><text "
        "class=\"n\" x=\"%d\" y=\"74\" text-anchor=\"end\">better is up and to the right"
        "</text>\n",
        r->c->cpu_level, r->c->threads, r->date, RIGHT);
}

void compare_svg(const compare_report *r, const compare_view *v, bk_buf *out) {
    axes a = axes_of(r->c, v);
    bk_buf_printf(
        out,
        "<svg class=\"cm\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
        "width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"Quality over %s speed\">\n%s"
        "<rect class=\"b\" width=\"%d\" height=\"%d\"/>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, v->name, style, WIDTH, HEIGHT);
    draw_head(r, v, out);
    draw_axes(&a, v, out);
    draw_line(r->c, v, &a, out);
    draw_points(r, v, &a, out);
    bk_buf_append_str(out, "</svg>\n");
}
