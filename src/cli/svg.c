#include "cli/svg.h"

#include <math.h>

void svg_grid_x(bk_buf *out, const svg_area *a, double x, const char *name) {
    bk_buf_printf(
        out,
        "<path class=\"g\" d=\"M%.1f %.0fV%.0f\"/><text class=\"n\" x=\"%.1f\" y=\"%.0f\" "
        "text-anchor=\"middle\">%s</text>\n",
        x, a->top, a->bottom, x, a->bottom + 16, name);
}

void svg_grid_y(bk_buf *out, const svg_area *a, double y, const char *name) {
    bk_buf_printf(
        out,
        "<path class=\"g\" d=\"M%.0f %.1fH%.0f\"/><text class=\"n\" x=\"%.0f\" y=\"%.1f\" "
        "text-anchor=\"end\">%s</text>\n",
        a->left, y, a->right, a->left - 7, y + 4, name);
}

static const double parts[] = {1, 2, 5};

size_t svg_ticks(double low, double high, int wanted, double v[SVG_TICKS]) {
    double most = high - low, power = pow(10, floor(log10(most / wanted))), step = 10 * power;
    size_t n = 0;
    for (size_t i = BK_ARRAY_LEN(parts); i-- > 0;)
        if (parts[i] * power * wanted >= most * 0.7) step = parts[i] * power;
    for (double k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * most && n < SVG_TICKS; k++)
        v[n++] = k * step + 0.0; /* no -0 */
    return n;
}

size_t svg_log_ticks(double low, double high, double v[SVG_TICKS]) {
    size_t n = 0;
    for (double d = floor(low); d <= high; d++) {
        for (size_t i = 0; i < BK_ARRAY_LEN(parts); i++) {
            double tick = parts[i] * pow(10, d), at = log10(tick);
            if (at >= low - 1e-9 && at <= high + 1e-9 && n < SVG_TICKS) v[n++] = tick;
        }
    }
    return n;
}
