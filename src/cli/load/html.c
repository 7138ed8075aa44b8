/* The page: numbers, distributions as percentile curves (the tail has as much room as the body), a bar
 * for each request over time. */
#include <math.h>
#include <stdio.h>

#include "brisk.h"
#include "cli/load/report.h"
#include "cli/page.h"
#include "cli/svg.h"

enum {
    WIDTH = 480, /* of a curve */
    HEIGHT = 250,
    LEFT = 62,
    RIGHT = WIDTH - 16,
    TOP = 34,
    BOTTOM = HEIGHT - 40,
    LINE_WIDTH = 960, /* of the timeline */
    LINE_LEFT = 40,
    ROWS_MOST = 200,
    ROW = 7
};

static const char style[] =
    "<style>.bs text{font:12px system-ui,sans-serif;fill:var(--fg)}.bs .h{font-weight:600}"
    ".bs .n{font-size:11px;fill:var(--dim)}.bs .g{stroke:var(--line)}"
    ".bs .c{stroke:#2a6fc9;stroke-width:2;fill:none}.bs .d{fill:#2a6fc9}"
    ".bs .wait{fill:#a87300;fill-opacity:.55}.bs .run{fill:#2a6fc9}.bs .bad{fill:#c43a3a}"
    "@media(prefers-color-scheme:dark){.bs .c{stroke:#4b93ee}.bs .d,.bs .run{fill:#4b93ee}"
    ".bs .bad{fill:#ef6a6a}}.two{display:grid;gap:16px;"
    "grid-template-columns:repeat(auto-fit,minmax(360px,1fr))}</style>\n";

/* ---- Curves ------------------------------------------------------------------------------------- */

typedef struct curve {
    double low, high; /* logarithms of ms */
    double tail;      /* logarithm of 1 / (1 - p) at the right edge */
} curve;

static double cx(const curve *c, double p) { /* p in 0..100 */
    double t = p >= 100 ? c->tail : fmin(-log10(1 - p / 100), c->tail);
    return LEFT + t / c->tail * (RIGHT - LEFT);
}

static double cy(const curve *c, double ms) {
    double up = (log10(fmax(ms, 0.001)) - c->low) / (c->high - c->low);
    return BOTTOM - fmax(up, 0) * (BOTTOM - TOP);
}

static void draw_grid(const curve *c, bk_buf *out) {
    static const double marks[] = {0, 50, 90, 99, 99.9, 99.99};
    const svg_area area = {.left = LEFT, .right = RIGHT, .top = TOP, .bottom = BOTTOM};
    double ms[SVG_TICKS];
    char name[32];
    for (size_t i = 0; i < BK_ARRAY_LEN(marks); i++) {
        if (i && -log10(1 - marks[i] / 100) > c->tail * 0.93) break;
        snprintf(name, sizeof name, "%g %%", marks[i]);
        svg_grid_x(out, &area, cx(c, marks[i]), name);
    }
    bk_buf_printf(out, "<text class=\"n\" x=\"%d\" y=\"%d\" text-anchor=\"end\">all</text>\n",
                  RIGHT, BOTTOM + 16);
    size_t n = svg_log_ticks(c->low, c->high, ms);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%g ms", ms[i]);
        svg_grid_y(out, &area, cy(c, ms[i]), name);
    }
}

/* The next of 1, 2, 5, 10, ... that is not less, or not more. */
static double round_ms(double ms, bool up) {
    static const double parts[] = {1, 2, 5, 10};
    double decade = pow(10, floor(log10(ms)));
    size_t i = 0;
    while (i + 1 < BK_ARRAY_LEN(parts) && parts[i + !up] * decade < ms * (up ? 1 : 1.0000001)) i++;
    return parts[i] * decade;
}

static void draw_curve(const char *title, const load_samples *s, bk_buf *out) {
    enum { STEPS = 120 };
    if (s->n == 0) return;
    /* Gaps of text that came together are near 0: a tenth of the median is low enough. */
    double low = fmax(fmax(s->v[0], load_percentile(s, 50) / 10), 0.01) * 0.95;
    double high = fmax(s->v[s->n - 1], low) * 1.05;
    curve c = {.low = log10(round_ms(low, false)),
               .high = log10(round_ms(high, true)),
               .tail = log10(fmax((double)s->n, 4)) + 0.1};
    bk_buf_printf(out,
                  "<svg class=\"bs\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">"
                  "<text class=\"h\" x=\"%d\" y=\"18\">%s</text>\n",
                  WIDTH, HEIGHT, title, LEFT, title);
    draw_grid(&c, out);
    bk_buf_append_str(out, "<path class=\"c\" d=\"");
    for (int i = 0; i <= STEPS; i++) {
        double p = 100 * (1 - pow(10, -c.tail * i / STEPS));
        if (i == STEPS) p = 100;
        bk_buf_printf(out, "%c%.1f %.1f", i ? 'L' : 'M', cx(&c, p), cy(&c, load_percentile(s, p)));
    }
    bk_buf_printf(
        out,
        "\"/><circle class=\"d\" cx=\"%d\" cy=\"%.1f\" r=\"4\"/><text x=\"%d\" y=\"%.1f\" "
        "text-anchor=\"end\">longest %.0f ms</text>\n",
        RIGHT, cy(&c, s->v[s->n - 1]), RIGHT - 8, cy(&c, s->v[s->n - 1]) - 8, s->v[s->n - 1]);
    bk_buf_printf(out,
                  "<text class=\"n\" x=\"%d\" y=\"%d\">this share of all %zu is not longer</text>"
                  "</svg>\n",
                  LEFT, BOTTOM + 32, s->n);
}

/* ---- Timeline ----------------------------------------------------------------------------------- */

typedef struct span {
    double seconds;
    uint64_t start;
} span;

static double tx(const span *t, uint64_t at) {
    return LINE_LEFT +
           ((double)at - (double)t->start) * 1e-9 / t->seconds * (LINE_WIDTH - LINE_LEFT - 16);
}

static void draw_request(const span *t, const load_request *r, int y, bk_buf *out) {
    double x0 = tx(t, r->sent), x1 = tx(t, load_has_text(r) ? r->stamps[0] : r->ended);
    double x2 = load_has_text(r) ? tx(t, r->stamps[r->n_stamps - 1]) : x1;
    bool good = load_answered(r);
    bk_buf_printf(out,
                  "<g><title>%s</title><rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" "
                  "height=\"%d\"/>",
                  load_outcome_name(r->outcome), good ? "wait" : "bad", x0, y, fmax(x1 - x0, 1),
                  ROW - 2);
    if (load_has_text(r))
        bk_buf_printf(out, "<rect class=\"run\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>",
                      x1, y, fmax(x2 - x1, 1), ROW - 2);
    bk_buf_append_str(out, "</g>\n");
}

static void draw_timeline(const load_report *r, bk_buf *out) {
    size_t rows = 0;
    span t = {.seconds = 0, .start = r->start};
    for (size_t i = 0; i < r->plan->n_all; i++) {
        const load_request *q = &r->plan->requests[i];
        if (!q->sent || q->sent < r->start) continue;
        t.seconds = fmax(t.seconds, (double)(q->ended - r->start) * 1e-9);
        rows++;
    }
    if (rows == 0 || t.seconds <= 0) return;
    rows = bk_min_size(rows, ROWS_MOST);
    int y = 8, bottom = y + (int)rows * ROW + 6;
    bk_buf_printf(out,
                  "<h2>Requests over time</h2><p>A row for each of the first %zu: waiting for the "
                  "first token, then the answer; red: no answer.</p><svg class=\"bs\" "
                  "viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Requests over time\">\n",
                  rows, LINE_WIDTH, bottom + 26);
    double step = pow(10, floor(log10(t.seconds)));
    step *= t.seconds / step > 5 ? 1 : t.seconds / step > 2 ? 0.5 : 0.2;
    for (double s = 0; s <= t.seconds; s += step) {
        double x = tx(&t, r->start + (uint64_t)(s * 1e9));
        bk_buf_printf(out,
                      "<path class=\"g\" d=\"M%.1f 4V%d\"/><text class=\"n\" x=\"%.1f\" y=\"%d\" "
                      "text-anchor=\"middle\">%g s</text>\n",
                      x, bottom, x, bottom + 16, s);
    }
    for (size_t i = 0, row = 0; i < r->plan->n_all && row < rows; i++) {
        const load_request *q = &r->plan->requests[i];
        if (q->sent && q->sent >= r->start) draw_request(&t, q, y + (int)row++ * ROW, out);
    }
    bk_buf_append_str(out, "</svg>\n");
}

/* ---- The page ----------------------------------------------------------------------------------- */

static void put_cards(const load_report *r, bk_buf *out) {
    const load_samples *ttft = &r->ms[LOAD_TTFT], *itl = &r->ms[LOAD_ITL];
    bk_buf_append_str(out, "<div class=\"cards\">");
    if (r->of[LOAD_OK])
        page_card(out, "", "output tokens/s, all together",
                  r->seconds > 0 ? (double)r->output_tokens / r->seconds : 0);
    page_card(out, " ms", "first token, median", load_percentile(ttft, 50));
    page_card(out, " ms", "first token, slowest", load_percentile(ttft, 100));
    page_card(out, " ms", "gap, median", load_percentile(itl, 50));
    page_card(out, " ms", "longest gap", load_percentile(itl, 100));
    if (r->has_slo)
        page_card(out, "", "answers/s within the limits",
                  r->seconds > 0 ? (double)r->good / r->seconds : 0);
    bk_buf_append_str(out, "</div>\n");
}

void load_report_html(const load_report *r, const load_lanes *other, const load_lanes *own,
                      bk_buf *out) {
    bk_buf text = {.limit = 0};
    page_begin(out, "brisk bench serve");
    bk_buf_append_str(out, style);
    bk_buf_append_str(out, "<h1>");
    cli_put_markup(out, r->o->label);
    bk_buf_append_str(out, ", ");
    cli_put_markup(out, r->o->model);
    bk_buf_append_str(out, "</h1>\n");
    put_cards(r, out);
    if (own) {
        bk_buf_append_str(out, "<h2>A long prompt among running streams</h2>\n");
        load_lanes_svg(other, own, false, out);
    }
    bk_buf_append_str(out, "<h2>Distributions</h2><div class=\"two\">\n");
    draw_curve("time to the first token", &r->ms[LOAD_TTFT], out);
    draw_curve("gap between tokens", &r->ms[LOAD_ITL], out);
    bk_buf_append_str(out, "</div>\n");
    draw_timeline(r, out);
    load_report_print(r, &text);
    bk_buf_append_str(out, "<h2>All numbers</h2><div class=\"wide\"><pre>");
    cli_put_markup(out, text.data ? text.data : "");
    bk_buf_printf(out, "</pre></div><p>brisk %s, %s</p>\n", brisk_version(), r->date);
    page_end(out);
    bk_buf_free(&text);
}
