#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <unistd.h>
#include <wchar.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/line.h"

struct line_edit {
    EditLine *el;
    History *history;
    const char *prompt;
};

static char *show_prompt(EditLine *el) {
    line_edit *l;
    static char text[64];
    el_get(el, EL_CLIENTDATA, &l);
    snprintf(text, sizeof text, "%s", l->prompt);
    return text;
}

/* libedit's own reader repeats a read that a signal broke off; here Ctrl-C must end it. */
static int read_char(EditLine *el, wchar_t *out) {
    (void)el;
    mbstate_t state = {0};
    for (;;) {
        char byte;
        if (!cli_wait_input()) {
            errno = EINTR;
            return -1;
        }
        ssize_t n = read(0, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        size_t got = mbrtowc(out, &byte, 1, &state);
        if (got == (size_t)-1) { /* not the locale's encoding: taken as it is */
            *out = (unsigned char)byte;
            return 1;
        }
        if (got != (size_t)-2) return 1;
    }
}

line_edit *line_edit_open(void) {
    line_edit *l = bk_alloc_zero(1, sizeof *l);
    if (!l) return NULL;
    HistEvent event;
    l->el = el_init("brisk", stdin, stderr, stderr);
    l->history = history_init();
    if (!l->el || !l->history) {
        line_edit_close(&l);
        return NULL;
    }
    history(l->history, &event, H_SETSIZE, 1000);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->el, EL_CLIENTDATA, l);
    el_set(l->el, EL_PROMPT, show_prompt);
    el_set(l->el, EL_EDITOR, "emacs");
    el_set(l->el, EL_HIST, history, l->history);
    el_set(l->el, EL_GETCFN, read_char);
    el_set(l->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->el, NULL);
    return l;
}

void line_edit_close(line_edit **lp) {
    line_edit *l = *lp;
    *lp = NULL;
    if (l->history) history_end(l->history);
    if (l->el) el_end(l->el);
    bk_free(l);
}

line_result line_edit_read(line_edit *l, const char *prompt, bk_buf *out) {
    HistEvent event;
    int n = 0;
    l->prompt = prompt;
    const char *line = el_gets(l->el, &n);
    if (cli_interrupted) {
        const LineInfo *typed = el_line(l->el);
        if (typed) bk_buf_append(out, typed->buffer, (size_t)(typed->lastchar - typed->buffer));
        fputc('\n', stderr);
        el_reset(l->el);
        return LINE_INTERRUPTED;
    }
    if (!line || n <= 0) {
        fputc('\n', stderr);
        return LINE_END;
    }
    size_t len = (size_t)n;
    if (line[len - 1] == '\n') len--;
    bk_buf_append(out, line, len);
    if (len > 0) history(l->history, &event, H_ENTER, out->data);
    return LINE_OK;
}
