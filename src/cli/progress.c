#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"

enum { WIDTH = 22 };
#define FIRST_AFTER_NS 1000000000u /* shorter work needs no bar */
#define EVERY_NS 100000000u

/* Of the terminal; a line that wraps could not be drawn over. */
static int columns(void) {
    struct winsize size;
    return ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

void cli_progress_start(cli_progress *p, const char *what) {
    *p = (cli_progress){.what = what, .started_ns = bk_now_ns(), .terminal = isatty(2)};
}

void cli_progress_show(cli_progress *p, double done, const char *note) {
    uint64_t now = bk_now_ns();
    if (!p->terminal || now - p->started_ns < FIRST_AFTER_NS) return;
    if (p->shown && now - p->drawn_ns < EVERY_NS && done < 1) return;
    p->shown = true;
    p->drawn_ns = now;
    if (done > p->most) p->most = done > 1 ? 1 : done;
    int full = (int)(p->most * WIDTH);
    char bar[WIDTH + 1], line[256];
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)full);
    bar[WIDTH] = '\0';
    int n = snprintf(line, sizeof line, "%s [%s] %3.0f %% %s", p->what, bar, p->most * 100,
                     note ? note : "");
    fprintf(stderr, "\r%.*s\033[K", bk_min_int(n, columns() - 1), line);
    fflush(stderr);
}

void cli_progress_end(cli_progress *p) {
    if (p->shown) fprintf(stderr, "\r\033[K");
    p->shown = false;
}
