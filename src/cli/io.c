/* Files in, text out, memory figures, Ctrl-C. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

bool cli_read_file(const char *path, bk_buf *out) {
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (!f) {
        cli_fail("%s: %s", path, strerror(errno));
        return false;
    }
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, f)) > 0 && bk_buf_append(out, part, n)) {
    }
    int bad = ferror(f) ? errno : 0;
    if (f != stdin) fclose(f);
    if (bad) cli_fail("%s: %s", path, strerror(bad));
    if (!bad && out->failed) cli_fail("%s: too large for a text (1 GiB at most)", path);
    return !bad && !out->failed;
}

static bool fill_file(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0;
}

bool cli_write_file(const char *path, const void *data, size_t len) {
    char tmp[4096];
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        cli_fail("%s exists and is not a regular file", path);
        return false;
    }
    int n = snprintf(tmp, sizeof tmp, "%s.%ld.tmp", path, (long)getpid());
    int fd = n > 0 && (size_t)n < sizeof tmp
                 ? open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
                 : -1;
    bool good = fd >= 0 && fill_file(fd, data, len);
    if (fd >= 0 && close(fd) != 0) good = false;
    if (good) good = rename(tmp, path) == 0;
    if (!good) {
        cli_fail("%s: %s", path, strerror(errno));
        if (fd >= 0) unlink(tmp);
    }
    return good;
}

/* Whether the character may reach a terminal: no C0 or C1 control but newline and tab. */
static bool harmless(uint32_t cp) {
    if (cp == '\n' || cp == '\t') return true;
    return cp >= 32 && cp != 0xFFFFFFFF && !(cp >= 127 && cp <= 159);
}

bool cli_put_text(FILE *to, bool terminal, const char *text, size_t len) {
    if (!terminal) return fwrite(text, 1, len, to) == len;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = bk_utf8_decode(text + i, len - i, &cp);
        if (harmless(cp)) {
            fwrite(text + i, 1, n, to);
        } else {
            for (size_t k = 0; k < n; k++) fprintf(to, "\\x%02x", (unsigned char)text[i + k]);
        }
        i += n;
    }
    return !ferror(to);
}

bool cli_finish_output(FILE *to) {
    if (fflush(to) == 0 && !ferror(to)) return true;
    cli_fail("cannot write the output: %s", strerror(errno));
    return false;
}

uint64_t cli_resident(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    unsigned long long total, resident = 0;
    if (fscanf(f, "%llu %llu", &total, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t cli_peak_resident(void) {
    struct rusage r;
    return getrusage(RUSAGE_SELF, &r) == 0 ? (uint64_t)r.ru_maxrss * 1024 : 0;
}

void cli_put_markup(bk_buf *out, const char *text) {
    for (const char *c = text; *c; c++) {
        switch (*c) {
        case '&': bk_buf_append_str(out, "&amp;"); break;
        case '<': bk_buf_append_str(out, "&lt;"); break;
        case '>': bk_buf_append_str(out, "&gt;"); break;
        case '"': bk_buf_append_str(out, "&quot;"); break;
        default: bk_buf_putc(out, *c);
        }
    }
}

const char *cli_sparse(const brisk_model_info *info, char *out, size_t cap) {
    int n = snprintf(out, cap, "%d matrices", info->n_sparse);
    if (info->n_filled > 0 && n > 0 && (size_t)n < cap)
        snprintf(out + n, cap - (size_t)n, "; %d more are dense in memory, which is faster here",
                 info->n_filled);
    return out;
}

const char *cli_bytes(uint64_t bytes, char *out, size_t cap) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 999.5 && u + 1 < BK_ARRAY_LEN(units); u++) v /= 1000;
    snprintf(out, cap, u == 0 || v >= 99.95 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return out;
}

bool cli_colored(int color, FILE *to) {
    if (color != COLOR_AUTO) return color == COLOR_ALWAYS;
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(to)) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

volatile bool cli_interrupted;

static void on_interrupt(int sig) {
    (void)sig;
    cli_interrupted = true;
}

bool cli_wait_input(void) {
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    struct pollfd in = {.fd = 0, .events = POLLIN};
    while (!cli_interrupted && ppoll(&in, 1, NULL, &before) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !cli_interrupted;
}

void cli_catch(int signal) {
    struct sigaction a = {.sa_handler = on_interrupt};
    sigemptyset(&a.sa_mask);
    sigaction(signal, &a, NULL);
}

void cli_release(int signal) {
    struct sigaction a = {.sa_handler = SIG_DFL};
    sigemptyset(&a.sa_mask);
    sigaction(signal, &a, NULL);
}

int cli_failed(void) { return cli_interrupted ? EXIT_INTERRUPTED : EXIT_ERROR; }
