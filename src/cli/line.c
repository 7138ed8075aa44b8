#include "cli/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

struct line_reader {
#if BRISK_HAVE_LIBEDIT
    line_edit *edit; /* NULL on a terminal that cannot be steered */
#endif
    char part[1024]; /* read, not yet given out */
    size_t at, len;
};

line_reader *line_open(void) {
    line_reader *l = bk_alloc_zero(1, sizeof *l);
#if BRISK_HAVE_LIBEDIT
    const char *term = getenv("TERM");
    if (l && isatty(2) && term && *term && strcmp(term, "dumb") != 0) l->edit = line_edit_open();
#endif
    return l;
}

void line_close(line_reader **lp) {
    line_reader *l = *lp;
    *lp = NULL;
    if (!l) return;
#if BRISK_HAVE_LIBEDIT
    if (l->edit) line_edit_close(&l->edit);
#endif
    bk_free(l);
}

static line_result plain_read(line_reader *l, const char *prompt, bk_buf *out) {
    fprintf(stderr, "%s", prompt);
    fflush(stderr);
    for (;;) {
        while (l->at < l->len) {
            char c = l->part[l->at++];
            if (c == '\n') return LINE_OK;
            bk_buf_putc(out, c);
        }
        if (!cli_wait_input()) {
            fputc('\n', stderr);
            return LINE_INTERRUPTED;
        }
        ssize_t n = read(0, l->part, sizeof l->part);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return out->len > 0 ? LINE_OK : LINE_END;
        l->at = 0;
        l->len = (size_t)n;
    }
}

line_result line_read(line_reader *l, const char *prompt, bk_buf *out) {
    bk_buf_clear(out);
#if BRISK_HAVE_LIBEDIT
    if (l->edit) return line_edit_read(l->edit, prompt, out);
#endif
    return plain_read(l, prompt, out);
}
