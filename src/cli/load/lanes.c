/* The picture of --mix: a lane for each stream with a tick for each token, the long prompt's wait below
 * them, the longest gap marked; one server above the other on one axis of time. */
#include <math.h>
#include <stdio.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "cli/load/report.h"

enum {
    JSON_DEPTH = 16,
    STREAMS_MOST = 1000,
    SHOWN_MOST = 16,
    WIDTH = 860,
    LEFT = 104,
    RIGHT = WIDTH - 24,
    LANE = 18,
    STEP = 24,
    TITLE = 44 /* above the lanes of a server */
};

/* ---- From a run, from a file -------------------------------------------------------------------- */

static bool allocate(load_lanes *l, size_t streams, size_t longs) {
    *l = (load_lanes){.n_streams = streams, .n_long = longs};
    l->streams = bk_alloc_zero(bk_max_size(streams, 1), sizeof *l->streams);
    l->longs = bk_alloc_zero(bk_max_size(longs, 1), sizeof *l->longs);
    if (l->streams && l->longs) return true;
    l->n_streams = l->n_long = 0;
    load_lanes_free(l);
    return false;
}

void load_lanes_free(load_lanes *l) {
    for (size_t i = 0; i < l->n_streams; i++) load_samples_free(&l->streams[i]);
    bk_free(l->streams);
    bk_free(l->longs);
    *l = (load_lanes){.n_streams = 0};
}

static double since(uint64_t zero, uint64_t t) { return ((double)t - (double)zero) * 1e-6; }

bool load_lanes_make(const load_report *r, load_lanes *l) {
    const load_request *all = r->plan->requests, *first = &all[r->o->steady];
    size_t steady = (size_t)r->o->steady, tokens = 0;
    if (!allocate(l, steady, r->plan->n - steady)) return false;
    uint64_t zero = first->sent ? first->sent : r->start;
    snprintf(l->label, sizeof l->label, "%s", r->o->label);
    l->begin = -1e3 * fmax((double)r->o->lead, 0.2);
    for (size_t i = 0; i < steady; i++) {
        for (size_t k = 0; k < all[i].n_stamps; k++)
            load_samples_add(&l->streams[i], since(zero, all[i].stamps[k]));
        tokens += all[i].n_stamps;
        if (all[i].n_stamps) l->end = fmax(l->end, l->streams[i].v[l->streams[i].n - 1]);
    }
    for (size_t i = 0; i < l->n_long; i++) {
        const load_request *q = &first[i];
        if (q->sent) l->longs[i].sent = since(zero, q->sent);
        if (load_has_text(q)) l->longs[i].first = since(zero, q->stamps[0]);
        l->end = fmax(l->end, l->longs[i].first);
    }
    if (tokens == 0) load_lanes_free(l);
    return tokens > 0;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void read_stream(const json_t *times, load_samples *out) {
    for (size_t k = 0; k < json_array_size(times); k++) {
        double v = json_number_value(json_array_get(times, k));
        if (out->n == 0 || v >= out->v[out->n - 1]) load_samples_add(out, v);
    }
}

bool load_lanes_read(bk_str text, load_lanes *l, char *why) {
    json_t *all = NULL;
    bk_error err;
    *l = (load_lanes){.n_streams = 0};
    if (bk_json_parse(text, JSON_DEPTH, false, &all, &err)) {
        snprintf(why, LOAD_WHY_CAP, "%.200s", err.text);
        return false;
    }
    const json_t *mix = json_object_get(all, "mix"), *streams = json_object_get(mix, "streams");
    const json_t *longs = json_object_get(mix, "long");
    size_t n = json_array_size(streams), n_long = json_array_size(longs);
    double begin = number(mix, "begin_ms"), end = number(mix, "end_ms");
    bool good = n > 0 && n <= STREAMS_MOST && n_long <= STREAMS_MOST && begin < 0 && end > 0 &&
                end - begin < 1e9 && allocate(l, n, n_long);
    if (!good) snprintf(why, LOAD_WHY_CAP, "it is no result of --mix with streams in it");
    if (good) {
        bk_str label = bk_json_text(json_object_get(all, "label"));
        bk_str_printable(l->label, sizeof l->label, label.data, label.len);
        l->begin = begin;
        l->end = end;
        for (size_t i = 0; i < n; i++) read_stream(json_array_get(streams, i), &l->streams[i]);
        for (size_t i = 0; i < n_long; i++) {
            l->longs[i].sent = number(json_array_get(longs, i), "sent_ms");
            l->longs[i].first = number(json_array_get(longs, i), "first_ms");
        }
    }
    json_decref(all);
    return good;
}

/* ---- Drawing ------------------------------------------------------------------------------------ */

static const char style[] =
    "<style>.ln text{font:12px system-ui,sans-serif;fill:#1c1e21}.ln .t{font-size:15px;"
    "font-weight:600}.ln .n{font-size:11px;fill:#5b6168}.ln .b{fill:#fff}.ln .g{stroke:#e4e6e9}"
    ".ln .z{stroke:#a87300;stroke-width:1.5;stroke-dasharray:4 3}.ln .l{fill:#f1f3f5}"
    ".ln .k0{fill:#6b7280}.ln .k1{fill:#2a6fc9}.ln .w{fill:#a87300}"
    ".ln .m{fill:#c43a3a;fill-opacity:.14;stroke:#c43a3a}.ln .x{fill:#c43a3a}"
    ".ln text.e{fill:#b02a2a;font-weight:600}.ln text.a{fill:#8a5f00}"
    "@media(prefers-color-scheme:dark){.ln text{fill:#e6e8eb}.ln .n{fill:#9aa2ab}"
    ".ln .b{fill:#15171a}.ln .g{stroke:#30343a}.ln .l{fill:#1f2227}.ln .z{stroke:#d19a2a}"
    ".ln .k0{fill:#9aa2ab}.ln .k1{fill:#4b93ee}.ln .w{fill:#d19a2a}"
    ".ln .m{stroke:#ef6a6a;fill:#ef6a6a}.ln .x{fill:#ef6a6a}.ln text.e{fill:#ff8f8f}"
    ".ln text.a{fill:#e0b04a}}</style>\n";

typedef struct axis {
    double begin, end; /* ms */
} axis;

static double px(const axis *a, double ms) {
    double x = LEFT + (ms - a->begin) / (a->end - a->begin) * (RIGHT - LEFT);
    return fmin(fmax(x, LEFT), RIGHT);
}

/* "84 ms", "5.9 s" */
static const char *time_name(double ms, char *out, size_t cap) {
    snprintf(out, cap,
             ms < 999.5  ? "%.0f ms"
             : ms < 9950 ? "%.2f s"
                         : "%.1f s",
             ms < 999.5 ? ms : ms / 1000);
    return out;
}

typedef struct gap {
    size_t stream;
    double from, to;
} gap;

/* The longest one that the picture shows. */
static gap longest(const load_lanes *l, const axis *a) {
    gap g = {.stream = 0};
    for (size_t i = 0; i < l->n_streams; i++) {
        const load_samples *s = &l->streams[i];
        for (size_t k = 1; k < s->n; k++) {
            if (s->v[k] < a->begin || s->v[k] - s->v[k - 1] <= g.to - g.from) continue;
            g = (gap){i, s->v[k - 1], s->v[k]};
        }
    }
    return g;
}

/* Ticks nearer than a pixel become one bar. */
static void draw_stream(const load_samples *s, const axis *a, int y, int color, bk_buf *out) {
    double from = -1, to = -1;
    bk_buf_printf(out, "<path class=\"k%d\" d=\"", color);
    for (size_t k = 0; k <= s->n; k++) {
        bool end = k == s->n;
        if (!end && s->v[k] < a->begin) continue;
        double x = end ? 0 : px(a, s->v[k]);
        if (!end && from >= 0 && x - to < 0.25) {
            to = x + 1;
            continue;
        }
        if (from >= 0) bk_buf_printf(out, "M%.1f %dH%.1fv%dH%.1fz", from, y, to, LANE, from);
        from = x;
        to = x + 1;
    }
    bk_buf_append_str(out, "\"/>\n");
}

static void draw_gap(const load_lanes *l, const axis *a, int top, bk_buf *out) {
    char name[32];
    gap g = longest(l, a);
    if (g.to <= g.from || g.stream >= SHOWN_MOST) return;
    double x0 = px(a, g.from) + 1, x1 = px(a, g.to), middle = (x0 + x1) / 2;
    int y = top + (int)g.stream * STEP;
    time_name(g.to - g.from, name, sizeof name);
    if (x1 - x0 > 130) {
        bk_buf_printf(out,
                      "<rect class=\"m\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>"
                      "<text class=\"e\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s without a "
                      "token</text>\n",
                      x0, y, x1 - x0, LANE, middle, y + 13, name);
    } else { /* too narrow for words: a mark over it */
        bk_buf_printf(out, "<path class=\"x\" d=\"M%.1f %dl-4 -7h8z\"><title>%s</title></path>\n",
                      middle, y, name);
    }
}

static void draw_title(const load_lanes *l, const axis *a, int y, bk_buf *out) {
    char gap_name[32], first_name[32];
    gap g = longest(l, a);
    bk_buf_printf(out, "<text class=\"t\" x=\"20\" y=\"%d\">", y + 16);
    cli_put_markup(out, l->label);
    bk_buf_printf(out, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">longest gap %s", RIGHT,
                  y + 16, time_name(g.to - g.from, gap_name, sizeof gap_name));
    if (l->n_long && l->longs[0].first > 0)
        bk_buf_printf(out, ", long prompt&#8217;s first token after %s",
                      time_name(l->longs[0].first - l->longs[0].sent, first_name,
                                sizeof first_name));
    bk_buf_append_str(out, "</text>\n");
}

/* How long each long prompt waited; its first token. */
static void draw_longs(const load_lanes *l, const axis *a, int y, bk_buf *out) {
    char name[32];
    bk_buf_printf(out,
                  "<text class=\"n\" x=\"%d\" y=\"%d\" text-anchor=\"end\">long prompt</text>\n",
                  LEFT - 8, y + 13);
    for (size_t i = 0; i < l->n_long && i < SHOWN_MOST; i++) {
        double x0 = px(a, l->longs[i].sent), x1 = px(a, l->longs[i].first);
        if (l->longs[i].first <= 0) continue;
        bk_buf_printf(out,
                      "<rect class=\"w\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"3\"/>"
                      "<circle class=\"w\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>",
                      x0, y + 8, x1 - x0, x1, y + 9.5);
        bool room = x1 < RIGHT - 130;
        if (i == 0)
            bk_buf_printf(out, "<text class=\"a\" x=\"%.1f\" y=\"%d\"%s>first token, %s</text>\n",
                          room ? x1 + 10 : x1 - 10, room ? y + 13 : y + 24,
                          room ? "" : " text-anchor=\"end\"",
                          time_name(l->longs[i].first - l->longs[i].sent, name, sizeof name));
    }
}

static size_t shown(const load_lanes *l) { return bk_min_size(l->n_streams, SHOWN_MOST); }

static int height_of(const load_lanes *l) { return TITLE + (int)(shown(l) + 1) * STEP + 20; }

static void draw_server(const load_lanes *l, const axis *a, int y, int color, bk_buf *out) {
    int top = y + TITLE, bottom = top + (int)shown(l) * STEP;
    draw_title(l, a, y, out);
    for (size_t i = 0; i < shown(l); i++) {
        int at = top + (int)i * STEP;
        bk_buf_printf(out,
                      "<rect class=\"l\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>"
                      "<text class=\"n\" x=\"%d\" y=\"%d\" text-anchor=\"end\">stream %zu</text>\n",
                      LEFT, at, px(a, l->end) - LEFT, LANE, LEFT - 8, at + 13, i + 1);
        draw_stream(&l->streams[i], a, at, color, out);
    }
    draw_longs(l, a, bottom, out);
    bk_buf_printf(out, "<path class=\"z\" d=\"M%.1f %dV%d\"/>\n", px(a, 0), top - 8, bottom + 16);
    bk_buf_printf(out, "<text class=\"a\" x=\"%.1f\" y=\"%d\">the long prompt arrives</text>\n",
                  px(a, 0) + 1, top - 12);
    draw_gap(l, a, top, out);
}

static void draw_axis(const axis *a, int top, int bottom, bk_buf *out) {
    static const double steps[] = {50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7};
    size_t i = 0;
    while (i + 1 < BK_ARRAY_LEN(steps) && (a->end - a->begin) / steps[i] > 14) i++;
    for (double t = ceil(a->begin / steps[i]) * steps[i]; t <= a->end; t += steps[i]) {
        double x = px(a, t);
        bk_buf_printf(out,
                      "<path class=\"g\" d=\"M%.1f %dV%d\"/><text class=\"n\" x=\"%.1f\" y=\"%d\" "
                      "text-anchor=\"middle\">%g</text>\n",
                      x, top, bottom, x, bottom + 15, t / 1000 + 0.0);
    }
    bk_buf_printf(out,
                  "<text class=\"n\" x=\"%d\" y=\"%d\">seconds since the long prompt arrived; each "
                  "tick is a token, red is the longest gap</text>\n",
                  LEFT, bottom + 34);
}

void load_lanes_svg(const load_lanes *other, const load_lanes *own, bool standalone, bk_buf *out) {
    axis a = {own->begin, own->end};
    if (other) a.begin = fmax(a.begin, other->begin), a.end = fmax(a.end, other->end);
    if (a.end - a.begin < 100) a.end = a.begin + 100;
    int first = other ? height_of(other) : 0, bottom = 10 + first + height_of(own);
    int height = bottom + 46;
    bk_buf_printf(out,
                  "<svg class=\"ln\"%s viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Tokens of "
                  "steady streams over time while a long prompt arrives\">\n",
                  standalone ? " xmlns=\"http://www.w3.org/2000/svg\"" : "", WIDTH, height);
    bk_buf_append_str(out, style);
    if (standalone)
        bk_buf_printf(out, "<rect class=\"b\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    draw_axis(&a, 10 + TITLE - 14, bottom, out);
    if (other) draw_server(other, &a, 10, 0, out);
    draw_server(own, &a, 10 + first, 1, out);
    bk_buf_append_str(out, "</svg>\n");
}
