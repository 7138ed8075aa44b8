#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/train.h"

#define HEAD "step,loss,valid_loss,accuracy,lr,grad_norm,tokens_per_second\n"

static bool keep(train_log *log, const train_row *row) {
    if (log->n == log->cap) {
        size_t cap = log->cap ? 2 * log->cap : 256;
        train_row *rows = bk_realloc(log->rows, cap, sizeof *rows);
        if (!rows) return cli_fail("no memory for the table of losses"), false;
        log->rows = rows;
        log->cap = cap;
    }
    log->rows[log->n++] = *row;
    return true;
}

/* A number up to the next comma or the end of the line; an empty field is 0. */
static double field(char **at) {
    double v = strtod(*at, at);
    *at += strcspn(*at, ",\n");
    if (**at == ',') ++*at;
    return isfinite(v) ? v : 0;
}

bool train_log_open(train_log *log, const char *path, int resume) {
    *log = (train_log){.path = path};
    if (!path || resume <= 0 || access(path, F_OK) != 0) return true;
    bk_buf text = {0};
    bool good = cli_read_file(path, &text) && bk_buf_putc(&text, '\n');
    char *line = good ? text.data : NULL;
    char *next;
    for (; good && line && *line && (next = strchr(line, '\n')); line = next + 1) {
        train_row row = {0};
        char *at = line;
        row.step = (int)fmin(fmax(field(&at), 0), 1e9);
        row.loss = field(&at);
        row.valid_loss = field(&at);
        row.accuracy = field(&at);
        row.lr = field(&at);
        row.grad_norm = field(&at);
        row.tokens_per_second = field(&at);
        if (row.step > 0 && row.step <= resume) good = keep(log, &row);
    }
    bk_buf_free(&text);
    return good;
}

bool train_log_add(train_log *log, const train_row *row) { return keep(log, row); }

bool train_log_write(const train_log *log) {
    if (!log->path) return true;
    bk_buf out = {0};
    bk_buf_append_str(&out, HEAD);
    for (size_t i = 0; i < log->n; i++) {
        const train_row *r = &log->rows[i];
        bk_buf_printf(&out, "%d,%.6f,", r->step, r->loss);
        if (r->valid_loss > 0) bk_buf_printf(&out, "%.6f", r->valid_loss);
        bk_buf_putc(&out, ',');
        if (r->accuracy > 0) bk_buf_printf(&out, "%.6f", r->accuracy);
        bk_buf_printf(&out, ",%.6g,%.6g,%.1f\n", r->lr, r->grad_norm, r->tokens_per_second);
    }
    bool good = !out.failed;
    if (!good) cli_fail("no memory for the table of losses");
    if (good) good = cli_write_file(log->path, out.data, out.len);
    bk_buf_free(&out);
    return good;
}

void train_log_free(train_log *log) { bk_free(log->rows); }
