/* What a run means: the definitions are those that the table prints. */
#ifndef BRISK_CLI_LOAD_REPORT_H
#define BRISK_CLI_LOAD_REPORT_H

#include "cli/load/load.h"
#include "cli/load/run.h"
#include "cli/load/stats.h"

typedef enum load_metric { LOAD_TTFT, LOAD_TPOT, LOAD_ITL, LOAD_E2EL, LOAD_METRICS } load_metric;

/* What is told of the streams in a part of --mix. */
typedef struct load_window {
    double seconds, tokens; /* of all streams together */
    load_samples gaps;      /* ms, sorted */
} load_window;

enum { LOAD_BEFORE, LOAD_DURING, LOAD_AFTER, LOAD_WINDOWS, LOAD_PERCENTILES = 16 };

typedef struct load_report {
    const load_options *o;
    const load_plan *plan;
    char date[32];
    bool interrupted;

    uint64_t start;                            /* monotonic ns: 0 of the timeline */
    size_t n, sent;                            /* requests of the main kind */
    size_t of[LOAD_OUTCOMES];                  /* how they ended */
    const char *why[LOAD_OUTCOMES];            /* what the first of them was told; NULL: nothing */
    double seconds;                            /* from the first sent to the last ended */
    load_samples ms[LOAD_METRICS], refused_ms; /* sorted */
    int64_t prompt_tokens, output_tokens;      /* of complete answers */
    int64_t prompt_least, prompt_most;
    int64_t cached_tokens; /* -1: the server does not say */
    bool counted;          /* output tokens are the server's count, not pieces of text */
    bool has_slo;
    size_t good; /* answers within all limits of --goodput */
    double late_ms;

    load_window window[LOAD_WINDOWS];     /* --mix; empty when the long prompt got no answer */
    load_samples long_ms;                 /* its first tokens, as sent */
    double alone_ms;                      /* 0: not measured */
    load_samples second_ms, cold_ms;      /* --turns 2, sorted */
    int64_t second_cached, second_prompt; /* of second turns; -1: the server does not say */
    int idle_opened, idle_left;

    double percentiles[LOAD_PERCENTILES];
    size_t n_percentiles;
    bool show[LOAD_METRICS];
} load_report;

/* Fills the samples and sums from the plan; run is that of the main requests. */
void load_report_make(load_report *r, const load_run *run, const load_mix *mix);
void load_report_free(load_report *r);

/* "ttft", "TTFT", "first token" and what it is, in words. */
typedef struct load_metric_name {
    const char *key, *name, *meaning;
} load_metric_name;
extern const load_metric_name load_metric_names[LOAD_METRICS];

/* Lines of text for people. */
void load_report_print(const load_report *r, bk_buf *out);
void load_report_json(const load_report *r, bk_buf *out);

/* ---- The picture of --mix ----------------------------------------------------------------------- */

/* Tokens of the streams in ms from the arrival of the first long prompt. */
typedef struct load_lanes {
    char label[96];
    size_t n_streams, n_long;
    load_samples *streams; /* owned */
    struct load_long {
        double sent, first; /* first 0: no text came */
    } * longs;              /* owned */
    double begin, end;
} load_lanes;

bool load_lanes_make(const load_report *r, load_lanes *out);
/* From what --json wrote; false with why[LOAD_WHY_CAP]. */
bool load_lanes_read(bk_str json, load_lanes *out, char *why);
void load_lanes_free(load_lanes *l);

/* Two servers, one above the other, on one axis; other NULL: one. standalone: a file of its own. */
void load_lanes_svg(const load_lanes *other, const load_lanes *own, bool standalone, bk_buf *out);

/* A page with the picture (lanes and other may be NULL), distributions and the table. */
void load_report_html(const load_report *r, const load_lanes *other, const load_lanes *own,
                      bk_buf *out);

#endif
