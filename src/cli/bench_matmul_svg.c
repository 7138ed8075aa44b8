/* The picture of `brisk bench matmul`: a bar for each row, as long as the logarithm of its rate, since
 * the ways differ by a factor of hundreds; a mark where the peak of its threads lies. */
#include <math.h>
#include <string.h>

#include "cli/bench_matmul.h"
#include "cli/svg.h"

enum { WIDTH = 760, LEFT = 150, RIGHT = WIDTH - 150, TOP = 84, BAR = 18, STEP = 24, GAP = 30 };

static const char style[] =
    "<style>text{font:12px system-ui,sans-serif;fill:#1c1e21}.t{font-size:16px;font-weight:600}"
    ".h{font-weight:600}.n{font-size:11px;fill:#5b6168}.g{stroke:#e4e6e9}.b{fill:#fff}"
    ".p{stroke:#1c1e21;stroke-width:2}.w0{fill:#a9afb7}.w1{fill:#c8541b}.w2{fill:#2a6fc9}"
    ".w3{fill:#0f8a68}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e8eb}.n{fill:#9aa2ab}.g{stroke:#30343a}"
    ".b{fill:#15171a}.p{stroke:#e6e8eb}.w0{fill:#565c65}.w2{fill:#3b82dd}}</style>\n";

/* Powers of ten that enclose all rates and peaks, in Gop/s. */
typedef struct scale {
    double low, high;
} scale;

static scale scale_of(const matmul_report *r) {
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < r->n_lines; i++) {
        low = fmin(low, r->lines[i].rate);
        high = fmax(high, fmax(r->lines[i].rate, r->lines[i].peak));
    }
    scale s = {floor(log10(low * 1e-9)), ceil(log10(high * 1e-9))};
    if (s.high <= s.low) s.high = s.low + 1;
    return s;
}

static double x_of(const scale *s, double rate) {
    double part = (log10(rate * 1e-9) - s->low) / (s->high - s->low);
    return LEFT + part * (RIGHT - LEFT);
}

static bool new_type(const matmul_report *r, size_t i) {
    return i == 0 || strcmp(r->lines[i].type, r->lines[i - 1].type) != 0;
}

static void put_axis(bk_buf *out, const scale *s, int bottom) {
    const svg_area area = {.left = LEFT, .right = RIGHT, .top = TOP - 8, .bottom = bottom};
    for (double power = s->low; power <= s->high; power++) {
        char name[32];
        snprintf(name, sizeof name, "%g", pow(10, power));
        svg_grid_x(out, &area, x_of(s, pow(10, power + 9)), name);
    }
    bk_buf_printf(out,
                  "<text class='n' x='%d' y='%d' text-anchor='middle'>billions of operations per "
                  "second; logarithmic; the mark is the measured peak</text>\n",
                  (LEFT + RIGHT) / 2, bottom + 34);
}

static void put_bar(bk_buf *out, const scale *s, const matmul_line *l, int y) {
    char label[64];
    double end = x_of(s, l->rate), peak = x_of(s, l->peak);
    bk_buf_printf(out,
                  "<text x='%d' y='%d' text-anchor='end'>%s</text>"
                  "<rect class='w%d' x='%d' y='%d' width='%.1f' height='%d'/>",
                  LEFT - 8, y + 13, matmul_label(l, label, sizeof label), (int)l->row.way, LEFT, y,
                  fmax(end - LEFT, 1), BAR);
    bk_buf_printf(out, "<line class='p' x1='%.1f' x2='%.1f' y1='%d' y2='%d'/>", peak, peak, y,
                  y + BAR);
    bk_buf_printf(out, "<text x='%d' y='%d'>%.1f", RIGHT + 10, y + 13, l->rate * 1e-9);
    if (l->row.threads > 1 && l->over_one > 0)
        bk_buf_printf(out, " (%.2f x one)", l->over_one);
    else if (l->over_naive > 1.05)
        bk_buf_printf(out, " (%.0f x naive)", l->over_naive);
    bk_buf_append_str(out, "</text>\n");
}

void matmul_svg(const matmul_report *r, bk_buf *out) {
    scale s = scale_of(r);
    int types = 0;
    for (size_t i = 0; i < r->n_lines; i++) types += new_type(r, i);
    int bottom = TOP + (int)r->n_lines * STEP + types * GAP, height = bottom + 48, y = TOP;
    bk_buf_printf(out,
                  "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' "
                  "height='%d'>\n%s<rect class='b' width='%d' height='%d'/>\n",
                  WIDTH, height, WIDTH, height, style, WIDTH, height);
    bk_buf_printf(out,
                  "<text class='t' x='20' y='30'>The matrix product: %zu x %zu weights, %zu "
                  "vectors</text>\n<text class='n' x='20' y='50'>",
                  r->m, r->k, r->n);
    cli_put_markup(out, r->cpu);
    bk_buf_printf(out, ", %s kernels, %s</text>\n", r->cpu_level, r->date);
    put_axis(out, &s, bottom);
    for (size_t i = 0; i < r->n_lines; i++) {
        if (new_type(r, i)) {
            bk_buf_append_str(out, "<text class='h' x='20' y='");
            bk_buf_printf(out, "%d'>", y + 14);
            cli_put_markup(out, r->lines[i].type);
            bk_buf_append_str(out, "</text>\n");
            y += GAP - 6;
        }
        put_bar(out, &s, &r->lines[i], y);
        y += STEP;
        if (i + 1 < r->n_lines && new_type(r, i + 1)) y += 6;
    }
    bk_buf_append_str(out, "</svg>\n");
}
