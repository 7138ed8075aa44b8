#include "train/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIELD_MOST = 4096 };

typedef struct reader {
    bk_str text;
    size_t at, line, column; /* of the field last read, from 1 */
    size_t next_line;
    char field[FIELD_MOST + 1];
    size_t len;
    bool last; /* of its line */
    bk_error *err;
} reader;

static bk_status complain(const reader *r, const char *wanted) {
    return bk_fail(r->err, BK_ERR_FORMAT, "line %zu, column %zu: '%.60s' found, %s wanted", r->line,
                   r->column, r->field, wanted);
}

static bool put(reader *r, char c) {
    if (r->len == FIELD_MOST) return false;
    r->field[r->len++] = c;
    return true;
}

static int peek(const reader *r) {
    return r->at < r->text.len ? (unsigned char)r->text.data[r->at] : -1;
}

/* After the opening quote, up to behind the closing one. */
static bk_status read_quoted(reader *r) {
    for (;;) {
        int c = peek(r);
        if (c < 0) return complain(r, "a closing quote");
        r->at++;
        if (c == '"') {
            if (peek(r) != '"') return BK_OK;
            r->at++;
        }
        if (c == '\n') r->next_line++;
        if (!put(r, (char)c)) return complain(r, "a shorter field");
    }
}

static bk_status read_plain(reader *r) {
    for (int c = peek(r); c >= 0 && c != ',' && c != '\n'; c = peek(r)) {
        r->at++;
        if (!put(r, (char)c)) return complain(r, "a shorter field");
        if (c == '"') return complain(r, "a field without quotes, or in quotes as a whole,");
    }
    while (r->len && strchr(" \t\r", r->field[r->len - 1])) r->len--;
    return BK_OK;
}

/* The next field, without blanks around it; not at the end of the text. */
static bk_status read_field(reader *r) {
    if (r->last) r->line = r->next_line, r->column = 0;
    r->column++;
    r->len = 0;
    memset(r->field, 0, 64); /* a message shows what was read so far */
    while (peek(r) == ' ' || peek(r) == '\t') r->at++;
    bool quoted = peek(r) == '"';
    if (quoted) r->at++;
    bk_status st = quoted ? read_quoted(r) : read_plain(r);
    r->field[r->len] = '\0';
    if (st) return st;
    while (quoted && (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\r')) r->at++;
    int c = peek(r);
    if (c != ',' && c != '\n' && c >= 0) return complain(r, "a comma after the closing quote");
    r->last = c != ',';
    r->at += c >= 0;
    if (c == '\n') r->next_line++;
    return BK_OK;
}

/* Lines without anything on them may stand at the end. */
static bool ended(const reader *r) {
    for (size_t i = r->at; i < r->text.len; i++)
        if (!strchr(" \t\r\n", r->text.data[i]) || r->text.data[i] == '\0') return false;
    return true;
}

/* A decimal number, the whole field, finite. */
static bool number(const reader *r, float *out) {
    const char *s = r->field;
    s += *s == '+' || *s == '-';
    if (strspn(s, "0123456789.") == 0 || strlen(r->field) != r->len ||
        strspn(r->field, "0123456789.eE+-") != r->len)
        return false;
    char *end;
    double v = strtod(r->field, &end);
    *out = (float)v;
    return *end == '\0' && isfinite(*out);
}

/* ---- The first line ------------------------------------------------------------------------------ */

typedef struct shape {
    size_t fields, label; /* in a line; which of them, from 0, is the class */
    bool header;
} shape;

static bk_status read_shape(reader *r, const char *label, shape *s) {
    bool numbers = false, found = false;
    do {
        float v;
        bk_status st = read_field(r);
        if (st) return st;
        numbers |= number(r, &v);
        if (label && !found && strcmp(r->field, label) == 0) found = true, s->label = s->fields;
        if (s->fields++ == BK_CSV_COLUMNS) return complain(r, "at most 65536 columns");
    } while (!r->last);
    s->header = label || !numbers;
    if (label && !found)
        return bk_fail(r->err, BK_ERR_FORMAT,
                       "line 1: no column is named '%.60s'; the first line must have the names",
                       label);
    if (!label) s->label = s->fields - 1;
    if (s->fields < 2)
        return bk_fail(r->err, BK_ERR_FORMAT,
                       "line 1: one field found; numbers and a class, separated by commas, wanted");
    return BK_OK;
}

/* ---- Lines of data ------------------------------------------------------------------------------- */

typedef struct table {
    shape shape;
    float *x;
    size_t *labels; /* [rows]: where the class begins in names */
    bk_buf names;   /* NUL after each */
    size_t rows, cap;
} table;

static bool grow(table *t) {
    if (t->rows < t->cap) return true;
    size_t cap = bk_max_size(2 * t->cap, 256), bytes;
    if (!bk_mul_size((t->shape.fields - 1) * sizeof *t->x, cap, &bytes)) return false;
    float *x = bk_realloc(t->x, bytes, 1);
    if (x) t->x = x;
    size_t *labels = x ? bk_realloc(t->labels, cap, sizeof *labels) : NULL;
    if (labels) t->labels = labels;
    if (!x || !labels) return false;
    t->cap = cap;
    return true;
}

static bk_status read_row(reader *r, table *t) {
    const shape *s = &t->shape;
    if (!grow(t)) return bk_fail(r->err, BK_ERR_NOMEM, "no memory for %zu examples", t->rows);
    float *x = &t->x[t->rows * (s->fields - 1)];
    size_t n = 0;
    do {
        bk_status st = read_field(r);
        if (st) return st;
        if (n == s->label) {
            if (r->len == 0 || strlen(r->field) != r->len) return complain(r, "a class");
            t->labels[t->rows] = t->names.len;
            if (!bk_buf_append(&t->names, r->field, r->len + 1))
                return bk_fail(r->err, BK_ERR_NOMEM, "no memory for %zu classes", t->rows);
        } else if (n < s->fields && !number(r, x++)) {
            /* A line that ends here is too short first of all. */
            if (!r->last || n + 1 == s->fields) return complain(r, "a number");
        }
        n++;
    } while (!r->last);
    if (n != s->fields)
        return bk_fail(r->err, BK_ERR_FORMAT, "fields in line %zu: %zu, in line 1: %zu", r->line, n,
                       s->fields);
    t->rows++;
    return BK_OK;
}

/* ---- Classes ------------------------------------------------------------------------------------- */

typedef struct mark {
    const char *name;
    double value;
    size_t row;
} mark;

static int by_name(const void *a, const void *b) {
    return strcmp(((const mark *)a)->name, ((const mark *)b)->name);
}

static int by_value(const void *a, const void *b) {
    double x = ((const mark *)a)->value, y = ((const mark *)b)->value;
    return x != y ? (x > y) - (x < y) : by_name(a, b);
}

static bool all_numbers(mark *l, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *end;
        l[i].value = strtod(l[i].name, &end);
        if (*end != '\0' || !isfinite(l[i].value)) return false;
    }
    return true;
}

/* Gives every row its class. */
static bk_status name_classes(const mark *l, bk_csv *c, bk_error *err) {
    for (size_t i = 0; i < c->rows; i++) {
        if (i == 0 || by_name(&l[i], &l[i - 1]) != 0) {
            if (c->n_classes == BK_CSV_CLASSES)
                return bk_fail(err, BK_ERR_FORMAT,
                               "more than %d classes found; is the column of the class one of "
                               "measurements?",
                               BK_CSV_CLASSES);
            char *name = bk_strndup(l[i].name, strlen(l[i].name));
            if (!name) return bk_fail(err, BK_ERR_NOMEM, "no memory for names of classes");
            c->classes[c->n_classes++] = name;
        }
        c->y[l[i].row] = (int32_t)c->n_classes - 1;
    }
    if (c->n_classes < 2)
        return bk_fail(err, BK_ERR_FORMAT, "one class found, '%.60s'; at least two wanted",
                       c->classes[0]);
    return BK_OK;
}

static bk_status find_classes(const table *t, bk_csv *c, bk_error *err) {
    mark *l = bk_alloc(t->rows, sizeof *l);
    c->y = bk_alloc(t->rows, sizeof *c->y);
    c->classes = bk_alloc_zero(bk_min_size(t->rows, BK_CSV_CLASSES), sizeof *c->classes);
    bk_status st = BK_OK;
    if (!l || !c->y || !c->classes) st = bk_fail(err, BK_ERR_NOMEM, "no memory for classes");
    if (!st) {
        for (size_t i = 0; i < t->rows; i++)
            l[i] = (mark){.name = t->names.data + t->labels[i], .row = i};
        qsort(l, t->rows, sizeof *l, all_numbers(l, t->rows) ? by_value : by_name);
        st = name_classes(l, c, err);
    }
    bk_free(l);
    return st;
}

bk_status bk_csv_parse(bk_str text, const char *label, bk_csv *out, bk_error *err) {
    if (bk_str_starts(text, BK_STR("\xEF\xBB\xBF"))) text.data += 3, text.len -= 3;
    reader r = {.text = text, .line = 1, .next_line = 1, .err = err};
    table t = {.rows = 0};
    bk_status st = BK_OK;
    if (ended(&r)) st = bk_fail(err, BK_ERR_FORMAT, "the table is empty");
    if (!st) st = read_shape(&r, label, &t.shape);
    if (!st && !t.shape.header) r = (reader){.text = text, .line = 1, .next_line = 1, .err = err};
    while (!st && !ended(&r)) st = read_row(&r, &t);
    if (!st && t.rows == 0) st = bk_fail(err, BK_ERR_FORMAT, "no example follows the first line");
    bk_csv c = {.rows = t.rows, .cols = t.shape.fields - 1};
    if (!st) st = find_classes(&t, &c, err);
    c.x = t.x;
    if (st)
        bk_csv_free(&c);
    else
        *out = c;
    bk_free(t.labels);
    bk_buf_free(&t.names);
    return st;
}

void bk_csv_free(bk_csv *c) {
    for (size_t i = 0; i < c->n_classes; i++) bk_free(c->classes[i]);
    bk_free(c->classes);
    bk_free(c->x);
    bk_free(c->y);
    *c = (bk_csv){.rows = 0};
}
