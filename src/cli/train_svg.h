/* The picture of `brisk train`: losses over steps. */
#ifndef BRISK_CLI_TRAIN_SVG_H
#define BRISK_CLI_TRAIN_SVG_H

#include "base/buf.h"

typedef struct train_point {
    int step;
    double loss; /* finite */
} train_point;

/* Texts are escaped; those that are NULL or empty are left out. */
typedef struct train_plot {
    const char *title; /* "LSTM language model on book.txt" */
    const char *unit;  /* of the losses: "nats per character" */
    const char *machine, *date;
    const train_point *train, *valid; /* steps ascend */
    size_t n_train, n_valid;
    double floor;           /* a loss to compare with; 0: none */
    const char *floor_name; /* "4-gram, Witten-Bell" */
} train_plot;

/* A picture that needs nothing outside of it, light or dark as the reader has it. Appends nothing when
 * there is no point. */
void cli_train_plot(const train_plot *p, bk_buf *out);

#endif
