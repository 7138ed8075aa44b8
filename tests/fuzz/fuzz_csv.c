/* Any bytes as a table: no crash, and what is accepted is complete and finite. The first byte chooses
 * whether a column is named. */
#include <math.h>
#include <stdlib.h>

#include "train/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_csv c = {.rows = 0};
    bk_error err;
    if (size == 0) return 0;
    bk_str text = {(const char *)data + 1, size - 1};
    if (bk_csv_parse(text, data[0] & 1 ? "label" : NULL, &c, &err)) return 0;
    if (c.rows == 0 || c.cols == 0 || c.n_classes < 2) abort();
    for (size_t i = 0; i < c.rows * c.cols; i++)
        if (!isfinite(c.x[i])) abort();
    for (size_t i = 0; i < c.rows; i++)
        if (c.y[i] < 0 || (size_t)c.y[i] >= c.n_classes) abort();
    bk_csv_free(&c);
    return 0;
}
