/* The limits as a JSON file in the cache folder. It holds what it was measured for, which is compared
 * with what is wanted: a home folder may be shared by machines of several kinds. */
#include <math.h>
#include <stdio.h>

#include "base/json_read.h"
#include "base/json_write.h"
#include "measure/limits.h"
#include "sys/file.h"

enum { FILE_MOST = 1 << 16, DIGITS = 6 };

/* ---- Writing ------------------------------------------------------------------------------------ */

static void write_row(bk_json *w, const double *v, int n) {
    bk_json_begin(w, '[');
    for (int i = 0; i < n; i++) bk_json_double(w, v[i], DIGITS);
    bk_json_end(w, ']');
}

/* The rows of figures, by their names in the file. */
typedef struct row {
    const char *name;
    double *v;       /* [n_counts], or [n_counts][BK_LIMITS_SIZES] */
    bool wide, zero; /* zero: 0 is a value */
} row;

enum { ROWS = 7 };

static void rows_of(bk_limits *l, row out[ROWS]) {
    const row rows[ROWS] = {
        {"read", l->read[0], true, false},    {"read_median", l->read_median[0], true, false},
        {"int8", l->int8, false, false},      {"int8_memory", l->int8_memory, false, false},
        {"bf16", l->bf16, false, true},       {"f32", l->f32, false, false},
        {"barrier", l->barrier, false, false}};
    for (int i = 0; i < ROWS; i++) out[i] = rows[i];
}

bool bk_limits_write(const bk_limits *from, bk_buf *out) {
    bk_limits copy = *from, *l = &copy;
    bk_json w = {.out = out};
    row rows[ROWS];
    rows_of(l, rows);
    bk_json_begin(&w, '{');
    bk_json_key_int(&w, "version", BK_LIMITS_VERSION);
    bk_json_key_str(&w, "cpu", l->cpu);
    bk_json_key_str(&w, "level", bk_cpu_level_name(l->level));
    bk_json_key_int(&w, "cpus", l->cpus);
    bk_json_key_int(&w, "date", l->date);
    bk_json_key(&w, "threads");
    bk_json_begin(&w, '[');
    for (int i = 0; i < l->n_counts; i++) bk_json_int(&w, l->threads[i]);
    bk_json_end(&w, ']');
    bk_json_key(&w, "bytes");
    bk_json_begin(&w, '[');
    for (int i = 0; i < l->n_sizes; i++) bk_json_uint(&w, l->bytes[i]);
    bk_json_end(&w, ']');
    for (int i = 0; i < ROWS; i++) {
        bk_json_key(&w, rows[i].name);
        if (!rows[i].wide) {
            write_row(&w, rows[i].v, l->n_counts);
            continue;
        }
        bk_json_begin(&w, '[');
        for (int c = 0; c < l->n_counts; c++)
            write_row(&w, rows[i].v + c * BK_LIMITS_SIZES, l->n_sizes);
        bk_json_end(&w, ']');
    }
    bk_json_end(&w, '}');
    return bk_buf_putc(out, '\n');
}

/* ---- Reading ------------------------------------------------------------------------------------ */

static bool whole(const json_t *v, int64_t least, int64_t most, int64_t *out) {
    if (!json_is_integer(v)) return false;
    *out = json_integer_value(v);
    return *out >= least && *out <= most;
}

/* Whole numbers, each above the one before. Returns how many; 0: something else. */
static int read_ascending(const json_t *v, int cap, int64_t most, int64_t *out) {
    int64_t last = 0;
    size_t n = json_array_size(v);
    if (n > (size_t)cap) return 0;
    for (size_t i = 0; i < n; i++) {
        if (!whole(json_array_get(v, i), last + 1, most, &out[i])) return 0;
        last = out[i];
    }
    return (int)n;
}

static bool read_row(const json_t *v, double *out, int n, bool zero) {
    if (json_array_size(v) != (size_t)n) return false;
    for (int i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, (size_t)i);
        out[i] = json_number_value(x);
        if (!json_is_number(x) || !isfinite(out[i]) || out[i] < 0 || (!zero && out[i] == 0))
            return false;
    }
    return true;
}

static bool read_wide(const json_t *v, double *out, const bk_limits *l) {
    if (json_array_size(v) != (size_t)l->n_counts) return false;
    for (int c = 0; c < l->n_counts; c++) {
        if (!read_row(json_array_get(v, (size_t)c), out + c * BK_LIMITS_SIZES, l->n_sizes, false))
            return false;
    }
    return true;
}

/* NULL, or the key whose value is not as it should be. */
static const char *read_all(const json_t *o, bk_limits *l) {
    int64_t n, threads[BK_LIMITS_COUNTS], bytes[BK_LIMITS_SIZES];
    bk_str cpu = bk_json_text(json_object_get(o, "cpu"));
    const char *level = json_string_value(json_object_get(o, "level"));
    row rows[ROWS];
    if (!whole(json_object_get(o, "version"), BK_LIMITS_VERSION, BK_LIMITS_VERSION, &n))
        return "version";
    if (!cpu.data || cpu.len >= sizeof l->cpu || memchr(cpu.data, 0, cpu.len)) return "cpu";
    memcpy(l->cpu, cpu.data, cpu.len);
    if (!bk_cpu_level_parse(level, &l->level)) return "level";
    if (!whole(json_object_get(o, "cpus"), 0, INT32_MAX, &n)) return "cpus";
    l->cpus = (int)n;
    if (!whole(json_object_get(o, "date"), 0, INT64_MAX, &l->date)) return "date";
    l->n_counts =
        read_ascending(json_object_get(o, "threads"), BK_LIMITS_COUNTS, INT32_MAX, threads);
    if (l->n_counts == 0 || threads[0] != 1) return "threads";
    l->n_sizes = read_ascending(json_object_get(o, "bytes"), BK_LIMITS_SIZES, INT64_MAX, bytes);
    if (l->n_sizes == 0) return "bytes";
    for (int i = 0; i < l->n_counts; i++) l->threads[i] = (int)threads[i];
    for (int i = 0; i < l->n_sizes; i++) l->bytes[i] = (uint64_t)bytes[i];
    rows_of(l, rows);
    for (int i = 0; i < ROWS; i++) {
        const json_t *v = json_object_get(o, rows[i].name);
        bool good = rows[i].wide ? read_wide(v, rows[i].v, l)
                                 : read_row(v, rows[i].v, l->n_counts, rows[i].zero);
        if (!good) return rows[i].name;
    }
    return NULL;
}

bk_status bk_limits_read(bk_str text, bk_limits *out, bk_error *err) {
    enum { DEPTH = 4 };
    json_t *o;
    *out = (bk_limits){0};
    bk_status st = bk_json_parse(text, DEPTH, true, &o, err);
    if (st) return st;
    const char *bad = read_all(o, out);
    json_decref(o);
    if (!bad) return BK_OK;
    *out = (bk_limits){0};
    return bk_fail(err, BK_ERR_FORMAT,
                   "kept limits: \"%s\" is missing or not what this version writes: measure anew",
                   bad);
}

/* ---- The cache folder --------------------------------------------------------------------------- */

/* One file for each CPU, number of CPUs, level and number of threads; the name of the CPU, which may
 * hold anything, as a hash (FNV-1a). */
static bk_status path_of(const bk_limits *l, char *path, size_t cap, bk_error *err) {
    char dir[2048];
    uint32_t hash = 2166136261u;
    for (const char *c = l->cpu; *c; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
    bk_status st = bk_cache_dir(dir, sizeof dir, err);
    if (st) return st;
    snprintf(path, cap, "%s/limits-%08x-%d-%s-%d.json", dir, hash, l->cpus,
             bk_cpu_level_name(l->level), l->threads[l->n_counts - 1]);
    return BK_OK;
}

enum { PATH_CAP = 2200 };

bool bk_limits_load(bk_cpu_level level, int max_threads, bk_limits *out) {
    char path[PATH_CAP];
    bk_limits want;
    if (max_threads < 0) return false;
    bk_buf text = {.limit = FILE_MOST};
    bk_limits_describe(level, max_threads, &want);
    bool good = !path_of(&want, path, sizeof path, NULL) && !bk_file_read(path, &text, NULL) &&
                !bk_limits_read(bk_buf_view(&text), out, NULL);
    bk_buf_free(&text);
    return good && strcmp(out->cpu, want.cpu) == 0 && out->level == level &&
           out->cpus == want.cpus && out->n_counts == want.n_counts &&
           memcmp(out->threads, want.threads, sizeof want.threads) == 0;
}

bk_status bk_limits_save(const bk_limits *l, bk_error *err) {
    char path[PATH_CAP];
    bk_buf text = {.limit = FILE_MOST};
    bk_status st = path_of(l, path, sizeof path, err);
    if (st) return st;
    st = bk_limits_write(l, &text) ? bk_file_write_atomic(path, text.data, text.len, err)
                                   : bk_fail(err, BK_ERR_NOMEM, "no memory for the limits' text");
    bk_buf_free(&text);
    return st;
}

bk_status bk_limits_get(bk_cpu_level level, int max_threads, bool again,
                        const bk_limits_watch *watch, bk_limits *out, bk_error *err) {
    if (!again && bk_limits_load(level, max_threads, out)) return BK_OK;
    bk_status st = bk_limits_measure(level, max_threads, watch, out, err);
    if (!st) bk_limits_save(out, NULL);
    return st;
}
