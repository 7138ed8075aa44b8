/* The picture of a profile: a roofline (Williams, Waterman and Patterson 2009: operations per second over
 * operations per byte, both logarithmic, below what memory and arithmetic allow) and the time of each
 * phase as a bar. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/profile.h"
#include "cli/svg.h"

enum {
    WIDTH = 760,
    LEFT = 64, /* of the plot */
    RIGHT = WIDTH - 20,
    TOP = 64,
    BOTTOM = 350,
    LEGEND = BOTTOM + 60,
    BAR = 24,
    BAR_STEP = 76
};

/* Colours by operation; what takes little shares the last. */
static const char *const color_names[] = {
    "qkv",  "attention",         "attention output", "gate and up", "down",
    "head", "attention, window", "other operations", "waiting",     "serial"};
enum { COLORS = BK_ARRAY_LEN(color_names), OTHER = 7, WAITING, SERIAL };

static int color_of(const char *name) {
    const char *experts = "experts, ";
    if (strncmp(name, experts, strlen(experts)) == 0) name += strlen(experts);
    for (int i = 0; i < OTHER; i++)
        if (strcmp(name, color_names[i]) == 0) return i;
    return OTHER;
}

static const char style[] =
    "<style>.pf text{font:12px system-ui,sans-serif;fill:#1c1e21}.pf .t{font-size:16px;"
    "font-weight:600}.pf .h{font-weight:600}.pf .n{font-size:11px;fill:#5b6168}"
    ".pf .in{fill:#fff;font-size:11px}.pf .g{stroke:#e4e6e9;stroke-width:1}"
    ".pf .r{stroke:#5b6168;stroke-width:1.5;fill:none}.pf .l{fill:#1c1e21}"
    ".pf .p{stroke:#fff;stroke-width:1.5}"
    ".pf .c0{fill:#2a6fc9}.pf .c1{fill:#c8541b}.pf .c2{fill:#0f8a68}.pf .c3{fill:#a87300}"
    ".pf .c4{fill:#b83f77}.pf .c5{fill:#5f4bbd}.pf .c6{fill:#c43a3a}.pf .c7{fill:#3d7d1e}"
    ".pf .c8{fill:#a9afb7}.pf .c9{fill:#6b7280}"
    "@media(prefers-color-scheme:dark){.pf text,.pf .l{fill:#e6e8eb}.pf .n{fill:#9aa2ab}"
    ".pf .in{fill:#fff}.pf .g{stroke:#30343a}.pf .r{stroke:#9aa2ab}.pf .p{stroke:#15171a}"
    ".pf .c0{fill:#3b82dd}.pf .c5{fill:#7c69d8}.pf .c8{fill:#565c65}.pf .c9{fill:#7d848f}}"
    "</style>\n";

/* "1", "20", "0.5", "5k" */
static const char *tick_name(double v, char *out, size_t cap) {
    snprintf(out, cap, v >= 999 ? "%gk" : "%g", v >= 999 ? v / 1000 : v);
    return out;
}

/* ---- Roofline ----------------------------------------------------------------------------------- */

/* A point: Gop/s over operations per byte. */
typedef struct point {
    const profile_view *view;
    const brisk_profile_part *part;
    double x, y, share;
    double at_x, at_y, r; /* in the picture */
} point;

typedef struct plot {
    point points[2 * BRISK_PROFILE_PARTS];
    size_t n;
    double x0, x1, y0, y1; /* logarithms of the range */
    double slope;          /* GB/s of the memory roof; 0: not known */
    double roof[3];        /* Gop/s of int8, int16, float; 0: not known or not used */
} plot;

/* Smaller ones would be dust. */
static const double least_share = 0.003;

static void add_points(plot *p, const profile_view *v) {
    for (size_t i = 0; i < v->phase->n_parts; i++) {
        const brisk_profile_part *part = &v->phase->parts[i];
        double ops = profile_ops(part), share = part->time_ns / v->phase->total_ns;
        if (ops <= 0 || part->bytes == 0 || share < least_share) continue;
        p->points[p->n++] = (point){.view = v,
                                    .part = part,
                                    .x = ops / (double)part->bytes,
                                    .y = ops / part->time_ns,
                                    .share = share};
    }
}

static void reach(double *low, double *high, double v) {
    if (v <= 0) return;
    if (log10(v) < *low) *low = log10(v);
    if (log10(v) > *high) *high = log10(v);
}

static void plot_init(plot *p, const profile_report *r, const profile_view *views, size_t n) {
    *p = (plot){.x0 = 0, .x1 = 1, .y0 = 2, .y1 = 2};
    bool used[3] = {false, false, false};
    for (size_t i = 0; i < n; i++) {
        add_points(p, &views[i]);
        p->slope = views[i].phase->read_rate * 1e-9;
    }
    for (size_t i = 0; i < p->n; i++) {
        const brisk_profile_part *part = p->points[i].part;
        used[0] |= part->int8_ops > 0, used[1] |= part->int16_ops > 0,
            used[2] |= part->float_ops > 0;
        reach(&p->x0, &p->x1, p->points[i].x);
        reach(&p->y0, &p->y1, p->points[i].y);
    }
    const double peaks[3] = {r->result.int8_peak, r->result.int16_peak, r->result.float_peak};
    for (int i = 0; i < 3; i++) {
        if (used[i]) p->roof[i] = peaks[i] * 1e-9;
        reach(&p->y0, &p->y1, p->roof[i]);
    }
    p->x1 += 0.15, p->y1 += 0.2, p->y0 -= 0.25;
}

static double px(const plot *p, double x) {
    return LEFT + (log10(x) - p->x0) / (p->x1 - p->x0) * (RIGHT - LEFT);
}

static double py(const plot *p, double y) {
    return BOTTOM - (log10(y) - p->y0) / (p->y1 - p->y0) * (BOTTOM - TOP);
}

static void draw_grid(const plot *p, bool vertical, bk_buf *out) {
    const svg_area area = {.left = LEFT, .right = RIGHT, .top = TOP, .bottom = BOTTOM};
    double v[SVG_TICKS];
    size_t n = vertical ? svg_log_ticks(p->x0, p->x1, v) : svg_log_ticks(p->y0, p->y1, v);
    for (size_t i = 0; i < n; i++) {
        char name[32];
        tick_name(v[i], name, sizeof name);
        if (vertical)
            svg_grid_x(out, &area, px(p, v[i]), name);
        else
            svg_grid_y(out, &area, py(p, v[i]), name);
    }
}

static void draw_roofs(const plot *p, bk_buf *out) {
    static const char *const names[] = {"int8", "int16", "float"};
    double highest = 0, right = pow(10, p->x1);
    for (int i = 0; i < 3; i++) {
        if (p->roof[i] <= 0) continue;
        double from = p->slope > 0 ? p->roof[i] / p->slope : pow(10, p->x0);
        if (from < pow(10, p->x0)) from = pow(10, p->x0);
        if (p->roof[i] > highest) highest = p->roof[i];
        if (from >= right) continue;
        double x = px(p, from), y = py(p, p->roof[i]);
        bk_buf_printf(out,
                      "<path class=\"r\" d=\"M%.1f %.1fH%d\"/><text class=\"n\" x=\"%.1f\" "
                      "y=\"%.1f\">%s %.0f Gop/s</text>\n",
                      x, y, RIGHT, x + 40, y - 5, names[i], p->roof[i]);
    }
    if (p->slope <= 0 || highest <= 0) return;
    double x0 = pow(10, p->x0), x1 = highest / p->slope;
    if (x0 * p->slope < pow(10, p->y0)) x0 = pow(10, p->y0) / p->slope;
    if (x1 > right) x1 = right;
    double ax = px(p, x0), ay = py(p, x0 * p->slope), bx = px(p, x1), by = py(p, x1 * p->slope);
    double tx = ax + (bx - ax) * 0.5, ty = ay + (by - ay) * 0.5;
    bk_buf_printf(out,
                  "<path class=\"r\" d=\"M%.1f %.1fL%.1f %.1f\"/><text class=\"n\" "
                  "text-anchor=\"middle\" transform=\"translate(%.1f %.1f) rotate(%.1f)\" "
                  "dy=\"-6\">reading %.1f GB/s</text>\n",
                  ax, ay, bx, by, tx, ty, atan2(by - ay, bx - ax) * 180 / 3.14159265358979,
                  p->slope);
}

static void draw_point(const point *at, bk_buf *out) {
    const brisk_profile_part *part = at->part;
    bool decode = strcmp(at->view->name, "decode") == 0;
    const char *shape = decode ? "circle" : "rect";
    bk_buf_printf(out, "<%s class=\"p c%d\" ", shape, color_of(part->name));
    if (decode)
        bk_buf_printf(out, "cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\">", at->at_x, at->at_y, at->r);
    else
        bk_buf_printf(out, "x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">",
                      at->at_x - at->r, at->at_y - at->r, 2 * at->r, 2 * at->r);
    bk_buf_printf(out, "<title>%s, %s %s: %.1f %% of the time, %.1f GB/s, %.0f Gop/s",
                  at->view->name, part->name, part->types, 100 * at->share,
                  (double)part->bytes / part->time_ns, at->y);
    double share = profile_share(part->limit_ns, part->time_ns);
    if (share > 0) bk_buf_printf(out, ", %.0f %% of the limit", 100 * share);
    bk_buf_printf(out, "</title></%s>\n", shape);
}

static bool covered(const plot *p, size_t i, double x) {
    const point *a = &p->points[i];
    for (size_t k = 0; k < i; k++) {
        const point *b = &p->points[k];
        double apart = a->r + b->r + 1;
        if (fabs(x - b->at_x) < apart && fabs(a->at_y - b->at_y) < apart) return true;
    }
    return false;
}

/* Points that would cover each other stand side by side, to the right if there is room, where they cannot
 * come to lie over the memory roof. Height is what counts. */
static void place_point(plot *p, size_t i) {
    point *a = &p->points[i];
    a->r = 3.5 + 6 * sqrt(a->share);
    a->at_y = py(p, a->y);
    double x = px(p, a->x);
    a->at_x = x;
    while (covered(p, i, a->at_x) && a->at_x + a->r < RIGHT) a->at_x += 2;
    if (a->at_x + a->r < RIGHT) return;
    for (a->at_x = x; covered(p, i, a->at_x) && a->at_x > LEFT;) a->at_x -= 2;
}

/* Large ones first. */
static int by_share(const void *a, const void *b) {
    double x = ((const point *)a)->share, y = ((const point *)b)->share;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void draw_points(plot *p, bk_buf *out) {
    if (p->n) qsort(p->points, p->n, sizeof *p->points, by_share);
    for (size_t i = 0; i < p->n; i++) {
        place_point(p, i);
        draw_point(&p->points[i], out);
    }
}

static void draw_roofline(const profile_report *r, const profile_view *views, size_t n,
                          bk_buf *out) {
    plot p;
    plot_init(&p, r, views, n);
    draw_grid(&p, true, out);
    draw_grid(&p, false, out);
    draw_roofs(&p, out);
    draw_points(&p, out);
    bk_buf_printf(out,
                  "<text class=\"n\" x=\"%d\" y=\"%d\">Gop/s</text>"
                  "<text class=\"n\" x=\"%d\" y=\"%d\" text-anchor=\"end\">operations per byte "
                  "read</text>\n",
                  LEFT - 40, TOP - 10, RIGHT, BOTTOM + 34);
}

/* ---- Bars --------------------------------------------------------------------------------------- */

typedef struct shares {
    double of[COLORS]; /* of the phase's time */
} shares;

static shares shares_of(const brisk_profile_phase *p) {
    shares s = {{0}};
    for (size_t i = 0; i < p->n_parts; i++)
        s.of[color_of(p->parts[i].name)] += p->parts[i].work_ns / p->total_ns;
    s.of[WAITING] = p->wait_ns / p->total_ns;
    s.of[SERIAL] = p->serial_ns / p->total_ns;
    return s;
}

static void draw_legend(const profile_view *views, size_t n, int y, bk_buf *out) {
    double x = LEFT;
    for (int c = 0; c < COLORS; c++) {
        double most = 0;
        for (size_t i = 0; i < n; i++) most = fmax(most, shares_of(views[i].phase).of[c]);
        if (most < least_share && c != WAITING && c != SERIAL) continue;
        bk_buf_printf(out,
                      "<rect class=\"c%d\" x=\"%.0f\" y=\"%d\" width=\"11\" height=\"11\" "
                      "rx=\"2\"/><text x=\"%.0f\" y=\"%d\">%s</text>\n",
                      c, x, y - 10, x + 16, y, color_names[c]);
        x += 30 + 6.6 * (double)strlen(color_names[c]);
        if (x > RIGHT - 100) x = LEFT, y += 20;
    }
    bk_buf_printf(out,
                  "<rect class=\"l\" x=\"%d\" y=\"%d\" width=\"9\" height=\"9\"/>"
                  "<text x=\"%d\" y=\"%d\">prefill</text><circle class=\"l\" cx=\"%d\" cy=\"%d\" "
                  "r=\"5\"/><text x=\"%d\" y=\"%d\">decode</text>\n",
                  LEFT + 12, TOP + 8, LEFT + 28, TOP + 17, LEFT + 84, TOP + 13, LEFT + 95,
                  TOP + 17);
}

static void draw_bar(const profile_report *r, const profile_view *v, int y, bk_buf *out) {
    const brisk_profile_phase *p = v->phase;
    shares s = shares_of(p);
    double x = LEFT, width = RIGHT - LEFT, ms = p->total_ns / v->per * 1e-6;
    bool decode = p == &r->result.decode;
    bk_buf_printf(out, "<text class=\"h\" x=\"%d\" y=\"%d\">%s: ", LEFT, y - 7, v->name);
    bk_buf_printf(out, ms < 10 ? "%.2f ms" : "%.0f ms", ms);
    if (decode)
        bk_buf_append_str(out, " per token");
    else
        bk_buf_printf(out, " for %d tokens", r->n_prompt);
    bk_buf_printf(out, ", %.0f tokens/s</text>\n", (double)p->tokens * 1e9 / p->total_ns);
    for (int c = 0; c < COLORS; c++) {
        double w = s.of[c] * width;
        if (w < 0.3) continue;
        /* A pixel between neighbours, where there is room for one. */
        bk_buf_printf(out,
                      "<rect class=\"c%d\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\">"
                      "<title>%s %.1f %%</title></rect>",
                      c, x, y, w > 3 ? w - 1.5 : w, BAR, color_names[c], 100 * s.of[c]);
        if (w > 36)
            bk_buf_printf(
                out, "<text class=\"in\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f %%</text>",
                x + w / 2 - 0.7, y + 16, 100 * s.of[c]);
        bk_buf_putc(out, '\n');
        x += w;
    }
    if (p->limit_ns <= 0) return;
    double share = p->limit_ns / p->total_ns;
    bk_buf_printf(out,
                  "<rect class=\"l\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"3\"/>"
                  "<text class=\"n\" x=\"%.1f\" y=\"%d\">this machine's limit: %.0f %% of that "
                  "time, %.0f tokens/s</text>\n",
                  LEFT, y + BAR + 3, fmin(share, 1) * width, (double)LEFT, y + BAR + 18,
                  100 * share, (double)p->tokens * 1e9 / p->limit_ns);
}

void profile_svg(const profile_report *r, bool standalone, bk_buf *out) {
    profile_view views[2];
    size_t n = profile_views(r, views);
    int bars = LEGEND + 50, height = bars + BAR_STEP * (int)n + 10;
    char text[512];
    /* A page has a heading of its own. */
    int top = standalone ? 0 : TOP - 28;
    bk_buf_printf(out,
                  "<svg class=\"pf\"%s viewBox=\"0 %d %d %d\" role=\"img\" "
                  "aria-label=\"Roofline and time of each operation\">\n",
                  standalone ? " xmlns=\"http://www.w3.org/2000/svg\"" : "", top, WIDTH,
                  height - top);
    bk_buf_append_str(out, style);
    if (standalone) {
        bk_buf_append_str(out, "<text class=\"t\" x=\"20\" y=\"28\">");
        cli_put_markup(out, profile_model(r, text, sizeof text));
        bk_buf_append_str(out, "</text>\n");
    }
    draw_roofline(r, views, n, out);
    draw_legend(views, n, LEGEND, out);
    for (size_t i = 0; i < n; i++) draw_bar(r, &views[i], bars + BAR_STEP * (int)i, out);
    bk_buf_printf(out, "<text class=\"n\" x=\"%d\" y=\"%d\">", LEFT, height - 8);
    cli_put_markup(out, profile_machine(r, text, sizeof text));
    bk_buf_printf(out, ", %.10s</text>\n</svg>\n", r->date);
}
