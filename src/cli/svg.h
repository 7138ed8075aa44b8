/* What the program's pictures share: an area with a grid and numbers beside it. Classes of the style
 * that each brings: "g" a line of the grid, "n" a small text. */
#ifndef BRISK_CLI_SVG_H
#define BRISK_CLI_SVG_H

#include "base/buf.h"

/* In the picture's units; y grows downwards, so top < bottom. */
typedef struct svg_area {
    double left, right, top, bottom;
} svg_area;

/* A line over the whole height at x with its name below; over the whole width at y, with its name on the
 * left. Names are markup already. */
void svg_grid_x(bk_buf *out, const svg_area *a, double x, const char *name);
void svg_grid_y(bk_buf *out, const svg_area *a, double y, const char *name);

enum { SVG_TICKS = 64 };

/* Where lines of a linear axis from low to high go: multiples of 1, 2 or 5 times a power of ten, about
 * `wanted` of them (at most twice that). Returns how many. */
size_t svg_ticks(double low, double high, int wanted, double v[SVG_TICKS]);
/* Of a logarithmic one, low and high being logarithms to base 10: 1, 2 and 5 times powers of ten. */
size_t svg_log_ticks(double low, double high, double v[SVG_TICKS]);

#endif
