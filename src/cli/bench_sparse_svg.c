/* The picture of `brisk bench sparse`: a field for each number of vectors, those with weights in the cache
 * above those from memory; in it a line for each sparse form, how many times as fast as the dense kernels
 * it is at which density, on a logarithmic scale. */
#include <math.h>

#include "cli/bench_sparse.h"
#include "cli/svg.h"

enum { FIELD = 200, HEIGHT = 180, GAP = 56, LEFT = 60, TOP = 112, LOW = -2, HIGH = 3 };

static const char style[] =
    "<style>text{font:12px system-ui,sans-serif;fill:#1c1e21}.t{font-size:16px;font-weight:600}"
    ".h{font-weight:600}.n{font-size:11px;fill:#5b6168}.g{stroke:#e4e6e9}.b{fill:#fff}"
    ".e{stroke:#1c1e21;stroke-width:1.5;stroke-dasharray:4 3}.l{fill:none;stroke-width:2}"
    ".f2{stroke:#2a6fc9;fill:#2a6fc9}.f3{stroke:#0f8a68;fill:#0f8a68}"
    ".f4{stroke:#c8541b;fill:#c8541b}.f5{stroke:#8a919a;fill:#8a919a}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e8eb}.n{fill:#9aa2ab}.g{stroke:#30343a}"
    ".b{fill:#15171a}.e{stroke:#e6e8eb}.f2{stroke:#5b9bee;fill:#5b9bee}"
    ".f3{stroke:#2fb892;fill:#2fb892}.f4{stroke:#ee7a3f;fill:#ee7a3f}}</style>\n";

static double x_of(const svg_area *a, double density) {
    return a->left + density * (a->right - a->left);
}

/* Powers of two from LOW to HIGH; what is beyond lies on the edge. */
static double y_of(const svg_area *a, double speed) {
    double at = fmin(fmax(log2(speed), LOW), HIGH);
    return a->bottom - (at - LOW) / (HIGH - LOW) * (a->bottom - a->top);
}

static void put_axes(bk_buf *out, const svg_area *a, bool left, bool bottom) {
    char name[32];
    for (int i = 0; i <= 4; i++) {
        snprintf(name, sizeof name, "%g", i / 4.0);
        svg_grid_x(out, a, x_of(a, i / 4.0), bottom ? name : "");
    }
    for (int p = LOW; p <= HIGH; p++) {
        snprintf(name, sizeof name, "%gx", exp2(p));
        svg_grid_y(out, a, y_of(a, exp2(p)), left ? name : "");
    }
    bk_buf_printf(out, "<path class='e' d='M%.0f %.1fH%.0f'/>\n", a->left, y_of(a, 1), a->right);
}

static void put_line(bk_buf *out, const svg_area *a, const sparse_report *r, int form, int columns,
                     bool cold) {
    char step = 'M';
    bk_buf_printf(out, "<path class='l f%d' fill='none' style='fill:none' d='", form);
    for (size_t i = 0; i < r->n_cases; i++) {
        const sparse_case *c = &r->cases[i];
        if (c->columns != columns || c->cold != cold) continue;
        bk_buf_printf(out, "%c%.1f %.1f", step, x_of(a, c->density),
                      y_of(a, sparse_speed(c, form)));
        step = 'L';
    }
    bk_buf_append_str(out, "'/>\n");
    for (size_t i = 0; i < r->n_cases; i++) {
        const sparse_case *c = &r->cases[i];
        if (c->columns == columns && c->cold == cold)
            bk_buf_printf(out, "<circle class='f%d' cx='%.1f' cy='%.1f' r='2.5'/>", form,
                          x_of(a, c->density), y_of(a, sparse_speed(c, form)));
    }
}

static void put_field(bk_buf *out, const sparse_report *r, int i, bool cold) {
    const int columns = r->columns[i];
    svg_area a = {.left = LEFT + i * (FIELD + 18), .top = TOP + cold * (HEIGHT + GAP)};
    a.right = a.left + FIELD;
    a.bottom = a.top + HEIGHT;
    put_axes(out, &a, i == 0, true);
    bk_buf_printf(out, "<text class='h' x='%.0f' y='%.0f'>%d vector%s, %s</text>\n", a.left,
                  a.top - 8, columns, columns == 1 ? "" : "s",
                  cold ? "from memory" : "in the cache");
    for (int f = BRISK_SPARSE_FORMS - 1; f >= BRISK_SPARSE_TILES_Q4_0; f--)
        put_line(out, &a, r, f, columns, cold);
}

static void put_legend(bk_buf *out) {
    int x = LEFT;
    for (int f = BRISK_SPARSE_TILES_Q4_0; f < BRISK_SPARSE_FORMS; f++, x += 110)
        bk_buf_printf(out,
                      "<rect class='f%d' x='%d' y='64' width='14' height='4'/><text x='%d' "
                      "y='70'>%s</text>\n",
                      f, x, x + 20, sparse_names[f]);
    bk_buf_printf(out, "<path class='e' d='M%d 66h18'/><text x='%d' y='70'>break-even</text>\n", x,
                  x + 24);
}

void sparse_svg(const sparse_report *r, bk_buf *out) {
    int width = LEFT + r->n_columns * (FIELD + 18) + 12, height = TOP + 2 * (HEIGHT + GAP);
    if (width < 640) width = 640;
    bk_buf_printf(out,
                  "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' "
                  "height='%d'>\n%s<rect class='b' width='%d' height='%d'/>\n",
                  width, height, width, height, style, width, height);
    bk_buf_printf(out,
                  "<text class='t' x='20' y='28'>Sparse against dense: %zu x %zu weights, how many "
                  "times as fast</text>\n<text class='n' x='20' y='48'>",
                  r->m, r->k);
    cli_put_markup(out, r->cpu);
    bk_buf_printf(out,
                  ", %s kernels, %d thread%s, %s; over the faster of dense q4_0 and q8_0</text>\n",
                  r->cpu_level, r->threads, r->threads == 1 ? "" : "s", r->date);
    put_legend(out);
    for (int cold = 0; cold < 2; cold++)
        for (int i = 0; i < r->n_columns; i++) put_field(out, r, i, cold);
    bk_buf_printf(out,
                  "<text class='n' x='%d' y='%d'>across: density, the share of tiles or weights "
                  "that are not 0</text>\n</svg>\n",
                  LEFT, height - 8);
}
