/* `brisk quantize --compare` and `brisk prune --compare`: recipes side by side. */
#ifndef BRISK_CLI_COMPARE_H
#define BRISK_CLI_COMPARE_H

#include "brisk_compress.h"
#include "cli/cli.h"

/* Whether --compare is among the arguments: then the verb is compare_run's. */
bool compare_asked(int argc, char **argv);
int compare_run(const char *verb, int argc, char **argv);

typedef struct compare_report {
    const brisk_comparison *c;
    const char *source, *text; /* paths, as given */
    char cpu[64], date[24];
} compare_report;

typedef struct compare_view {
    const char *name; /* "decode" */
    bool prefill;
} compare_view;
extern const compare_view compare_views[2];

static inline const brisk_compare_phase *compare_phase(const brisk_compare_row *r,
                                                       const compare_view *v) {
    return v->prefill ? &r->prefill : &r->decode;
}

/* "frontier", "dominated by q4_0", "dominated by a mixture of q4_0 and q5_0", each with "(within noise)"
 * where the speed does not decide it; and the rivals: "KL 0.0123 (q4_0, q5_0)", "1.23x (q4_0)", "none". */
const char *compare_verdict(const brisk_comparison *c, const brisk_compare_row *r,
                            const compare_view *v, char *out, size_t cap);
const char *compare_rival(const brisk_comparison *c, const brisk_compare_rival *r, bool speed,
                          char *out, size_t cap);

void compare_text(const compare_report *r, bk_buf *out);
void compare_json(const compare_report *r, bk_buf *out);
void compare_csv(const compare_report *r, bk_buf *out);
void compare_html(const compare_report *r, bk_buf *out);
/* One phase's picture: quality over speed, what is better up and to the right. */
void compare_svg(const compare_report *r, const compare_view *v, bk_buf *out);

#endif
