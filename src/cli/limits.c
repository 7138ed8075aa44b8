#include "cli/limits.h"

#include <signal.h>
#include <time.h>

#include "cli/cli.h"

static void show_progress(double done, void *user) { cli_progress_show(user, done, NULL); }

int limits_get(int threads, bool again, brisk_limits *out) {
    brisk_limits_options o;
    brisk_error err;
    cli_progress bar;
    brisk_limits_options_default(&o);
    cli_progress_start(&bar, "measuring");
    o.threads = threads;
    o.again = again;
    o.progress = show_progress;
    o.user = &bar;
    o.cancel = &cli_interrupted;
    cli_catch(SIGINT);
    brisk_status st = brisk_limits_get(&o, out, &err);
    cli_progress_end(&bar);
    cli_release(SIGINT);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    return st ? cli_fail("%s", err.text) : 0;
}

/* ---- Table -------------------------------------------------------------------------------------- */

static void print_row(const char *name, const char *unit, const double *v, size_t pitch, int n,
                      double scale, int digits) {
    printf("  %-24s %-8s", name, unit);
    for (int c = 0; c < n; c++) {
        double x = v[(size_t)c * pitch] * scale;
        if (x > 0)
            printf(" %10.*f", digits, x);
        else
            printf(" %10s", "-");
    }
    printf("\n");
}

static const char *size_name(uint64_t bytes, char *out, size_t cap) {
    if (bytes < 1 << 20)
        snprintf(out, cap, "read %llu KiB", (unsigned long long)(bytes >> 10));
    else
        snprintf(out, cap, "read %llu MiB", (unsigned long long)(bytes >> 20));
    return out;
}

void limits_print(const brisk_limits *l) {
    char text[64];
    time_t date = (time_t)l->date;
    struct tm utc = {0};
    gmtime_r(&date, &utc);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
    printf("\nlimits of %s, level %s, measured %s (--measure: anew)\n\n  %-24s %-8s",
           *l->cpu ? l->cpu : "this CPU", l->level, text, "threads", "");
    for (int c = 0; c < l->n_counts; c++) printf(" %10d", l->threads[c]);
    printf("\n");
    for (int s = 0; s < l->n_sizes; s++) {
        print_row(size_name(l->bytes[s], text, sizeof text), "GB/s", &l->read[0][s],
                  BRISK_LIMITS_SIZES, l->n_counts, 1e-9, 1);
    }
    print_row("int8 dot", "GOPS", l->int8, 1, l->n_counts, 1e-9, 1);
    print_row("int8 dot, from memory", "GOPS", l->int8_memory, 1, l->n_counts, 1e-9, 1);
    print_row("bf16 dot", "GFLOP/s", l->bf16, 1, l->n_counts, 1e-9, 1);
    print_row("f32 multiply and add", "GFLOP/s", l->f32, 1, l->n_counts, 1e-9, 1);
    print_row("barrier", "ns", l->barrier, 1, l->n_counts, 1e9, 0);
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static void json_row(bk_json *w, const char *key, const double *v, int n) {
    if (key) bk_json_key(w, key);
    bk_json_begin(w, '[');
    for (int i = 0; i < n; i++) bk_json_double(w, v[i], 6);
    bk_json_end(w, ']');
}

static void json_rates(bk_json *w, const char *key, const brisk_limits *l,
                       const double v[][BRISK_LIMITS_SIZES]) {
    bk_json_key(w, key);
    bk_json_begin(w, '[');
    for (int c = 0; c < l->n_counts; c++) json_row(w, NULL, v[c], l->n_sizes);
    bk_json_end(w, ']');
}

void limits_json(bk_json *w, const brisk_limits *l) {
    bk_json_begin(w, '{');
    bk_json_key_str(w, "cpu", l->cpu);
    bk_json_key_str(w, "level", l->level);
    bk_json_key_int(w, "date", l->date);
    bk_json_key(w, "threads");
    bk_json_begin(w, '[');
    for (int c = 0; c < l->n_counts; c++) bk_json_int(w, l->threads[c]);
    bk_json_end(w, ']');
    bk_json_key(w, "bytes");
    bk_json_begin(w, '[');
    for (int s = 0; s < l->n_sizes; s++) bk_json_uint(w, l->bytes[s]);
    bk_json_end(w, ']');
    json_rates(w, "read_bytes_per_second", l, l->read);
    json_rates(w, "read_median_bytes_per_second", l, l->read_median);
    json_row(w, "int8_ops_per_second", l->int8, l->n_counts);
    json_row(w, "int8_memory_ops_per_second", l->int8_memory, l->n_counts);
    json_row(w, "bf16_ops_per_second", l->bf16, l->n_counts);
    json_row(w, "f32_ops_per_second", l->f32, l->n_counts);
    json_row(w, "barrier_seconds", l->barrier, l->n_counts);
    bk_json_end(w, '}');
}

/* ---- One buffer --------------------------------------------------------------------------------- */

int bench_read(int argc, char **argv) {
    bool json = false;
    int threads = 0, status;
    const char *text = "100000000";
    long long bytes;
    const opt_spec specs[] = {
        {"--bytes", "N", "size of the buffer (100000000)", OPT_STR, &text, 0, 0},
        {"-t --threads", "N", "threads, each with a part of it; 0: as many as there are cores",
         OPT_INT, &threads, 0, 256},
        {"--json", NULL, "one JSON object", OPT_FLAG, &json, 0, 0},
    };
    const opt_table table = {.verb = "bench read",
                             .usage = "usage: brisk bench read [--bytes N] [-t N] [--json]",
                             .about = "Measures for a second how fast a buffer is read over and "
                                      "over. Decoding reads the weights once for each token.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    if (!cli_options(&table, argc, argv, &status)) return status;
    if (!opt_number(text, 1, 1LL << 50, &bytes))
        return cli_fail("--bytes: found '%.80s', wanted a whole number", text);
    brisk_machine machine;
    brisk_machine_get(&machine);
    if (threads == 0) threads = bk_min_int(machine.threads, 256);
    double best, median;
    brisk_error err;
    cli_catch(SIGINT);
    brisk_status st =
        brisk_read_rate((uint64_t)bytes, threads, &cli_interrupted, &best, &median, &err);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    if (json) {
        printf("{\"bytes\": %lld, \"threads\": %d, \"bytes_per_second\": %.0f, "
               "\"median_bytes_per_second\": %.0f}\n",
               bytes, threads, best, median);
    } else {
        printf("%.1f GB/s, median %.1f: %.1f MB read by %d thread%s\n", best * 1e-9, median * 1e-9,
               (double)bytes * 1e-6, threads, threads == 1 ? "" : "s");
    }
    return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}
