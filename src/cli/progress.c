#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"

enum { WIDTH = 32 };
#define FIRST_AFTER_NS 1000000000u /* shorter work needs no bar */
#define EVERY_NS 100000000u

void cli_progress_start(cli_progress *p, const char *what) {
    *p = (cli_progress){.what = what, .started_ns = bk_now_ns(), .terminal = isatty(2)};
}

void cli_progress_show(cli_progress *p, double done, const char *note) {
    uint64_t now = bk_now_ns();
    if (!p->terminal || now - p->started_ns < FIRST_AFTER_NS) return;
    if (p->shown && now - p->drawn_ns < EVERY_NS && done < 1) return;
    p->shown = true;
    p->drawn_ns = now;
    int full = done <= 0 ? 0 : done >= 1 ? WIDTH : (int)(done * WIDTH);
    char bar[WIDTH + 1];
    for (int i = 0; i < WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3.0f %% %s\033[K", p->what, bar, done * 100, note ? note : "");
    fflush(stderr);
}

void cli_progress_end(cli_progress *p) {
    if (p->shown) fprintf(stderr, "\r\033[K");
    p->shown = false;
}
