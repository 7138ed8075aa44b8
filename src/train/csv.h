/* Tables of examples: lines of numbers and a class, separated by commas (RFC 4180: fields may be
 * quoted, lines may end in CR LF). Nothing is guessed: what is no number is an error with its line and
 * column. */
#ifndef BRISK_TRAIN_CSV_H
#define BRISK_TRAIN_CSV_H

#include "base/buf.h"
#include "base/error.h"

enum { BK_CSV_COLUMNS = 65536, BK_CSV_CLASSES = 4096 };

typedef struct bk_csv {
    size_t rows, cols; /* examples; numbers in each */
    float *x;          /* [rows][cols] */
    int32_t *y;        /* [rows]: index of the class */
    char **classes; /* names: in numeric order when all are numbers, else in that of their bytes */
    size_t n_classes;
} bk_csv;

/* label names the column of the class, which takes a first line of names; NULL: the last column. A
 * first line without any number is one of names. *out is filled on success only. FORMAT, NOMEM. */
bk_status bk_csv_parse(bk_str text, const char *label, bk_csv *out, bk_error *err);
void bk_csv_free(bk_csv *c);

#endif
