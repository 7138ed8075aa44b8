/* A file is written to FILE.part and renamed when it is whole and right. FILE.part.etag remembers which
 * version of the server's file the part is of. A lock on the part keeps two processes from writing it:
 * the second waits, then finds the file there. */
#include "cli/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/http.h"
#include "cli/names.h"

enum { PATH_CAP = 4096, TRIES = 6, WAIT_MOST_S = 120 };
#define SPARE_BYTES (16u << 20) /* left on the disk */

/* One command's worth of files. */
typedef struct job {
    const fetch_options *o;
    const fetch_access *access;
    cli_progress bar;
    uint64_t total, before; /* bytes of all files (0: unknown), and of those that are done */
    uint64_t rate_ns, rate_bytes;
    double rate; /* bytes a second, smoothed */
} job;

/* One file on its way. */
typedef struct transfer {
    job *j;
    const fetch_file *f;
    char part[PATH_CAP];
    int fd;
    uint64_t have, size; /* bytes in the part; of the file, 0: unknown */
    char etag[HTTP_ETAG_CAP];
    bool resumed, again; /* the part began in an earlier run; begin anew after this answer */
    char why[HTTP_WHY_CAP];
} transfer;

/* ---- Progress ----------------------------------------------------------------------------------- */

static void measure_rate(job *j, uint64_t done) {
    uint64_t now = bk_now_ns();
    if (j->rate_ns == 0 || done < j->rate_bytes) j->rate_ns = now, j->rate_bytes = done;
    double seconds = (double)(now - j->rate_ns) * 1e-9;
    if (seconds < 0.5) return;
    double fresh = (double)(done - j->rate_bytes) / seconds;
    j->rate = j->rate > 0 ? 0.7 * j->rate + 0.3 * fresh : fresh;
    j->rate_ns = now;
    j->rate_bytes = done;
}

static void on_tick(void *user) {
    transfer *t = user;
    job *j = t->j;
    if (j->o->quiet) return;
    uint64_t done = j->before + t->have;
    char a[32], b[32], c[32], note[128];
    measure_rate(j, done);
    int n = snprintf(note, sizeof note, "%s", cli_bytes(done, a, sizeof a));
    if (j->total > 0)
        n +=
            snprintf(note + n, sizeof note - (size_t)n, " of %s", cli_bytes(j->total, b, sizeof b));
    if (j->rate > 1) {
        n += snprintf(note + n, sizeof note - (size_t)n, ", %s/s",
                      cli_bytes((uint64_t)j->rate, c, sizeof c));
        double left = j->total > done ? (double)(j->total - done) / j->rate : 0;
        if (left >= 120)
            snprintf(note + n, sizeof note - (size_t)n, ", %.0f min", left / 60);
        else if (left >= 1)
            snprintf(note + n, sizeof note - (size_t)n, ", %.0f s", left);
    }
    cli_progress_show(&j->bar, j->total ? (double)done / (double)j->total : 0, note);
}

/* ---- The part ----------------------------------------------------------------------------------- */

static const char *etag_path(const transfer *t, char *out, size_t cap) {
    snprintf(out, cap, "%s.etag", t->part);
    return out;
}

static void read_etag(transfer *t) {
    char path[PATH_CAP + 8];
    FILE *f = fopen(etag_path(t, path, sizeof path), "re");
    if (f && !fgets(t->etag, sizeof t->etag, f)) t->etag[0] = '\0';
    if (f) fclose(f);
    t->etag[strcspn(t->etag, "\n")] = '\0';
}

static void write_etag(transfer *t, const char *etag) {
    char path[PATH_CAP + 8];
    snprintf(t->etag, sizeof t->etag, "%s", etag);
    etag_path(t, path, sizeof path);
    FILE *f = *etag ? fopen(path, "we") : NULL;
    if (!f) {
        unlink(path);
        return;
    }
    fputs(etag, f);
    fclose(f);
}

static bool empty_part(transfer *t) {
    t->have = 0;
    write_etag(t, "");
    return ftruncate(t->fd, 0) == 0;
}

/* Makes the folders of a path; false with errno. */
static bool make_folders(const char *path) {
    char text[PATH_CAP];
    snprintf(text, sizeof text, "%s", path);
    for (char *at = strchr(text + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(text, 0777) != 0 && errno != EEXIST) return false;
        *at = '/';
    }
    return true;
}

/* Of the open file, not of the process: closing another descriptor of the file does not undo it. */
static bool lock(int fd, bool wait) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &whole) == 0;
}

/* Opens and locks the part. Whoever had the lock may have renamed or removed the file that we waited
 * for: then there is a new one. False after printing why, or on Ctrl-C. */
static bool open_part(transfer *t) {
    struct stat own, there;
    for (;;) {
        t->fd = make_folders(t->part) ? open(t->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
        if (t->fd < 0) {
            cli_fail("%s: %s", t->part, strerror(errno));
            return false;
        }
        if (!lock(t->fd, false)) {
            if (!t->j->o->quiet) fprintf(stderr, "waiting for another brisk that fetches this\n");
            while (!cli_interrupted && !lock(t->fd, true) && errno == EINTR) continue;
            if (cli_interrupted) return false;
        }
        if (fstat(t->fd, &own) == 0 && stat(t->part, &there) == 0 && own.st_ino == there.st_ino &&
            own.st_dev == there.st_dev) {
            t->have = (uint64_t)own.st_size;
            t->resumed = t->have > 0;
            read_etag(t);
            return true;
        }
        close(t->fd);
    }
}

static void remove_part(transfer *t) {
    empty_part(t);
    unlink(t->part);
}

/* ---- What the server sends ---------------------------------------------------------------------- */

static BK_PRINTF(2, 3) bool refuse(transfer *t, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(t->why, sizeof t->why, fmt, args);
    va_end(args);
    return false;
}

static bool enough_room(transfer *t) {
    struct statvfs v;
    char need[32], there[32];
    if (t->size <= t->have || fstatvfs(t->fd, &v) != 0) return true;
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize, wanted = t->size - t->have + SPARE_BYTES;
    if (room >= wanted) return true;
    return refuse(t,
                  "it needs %s more on the disk, %s are free: make room, or set BRISK_CACHE to "
                  "another disk",
                  cli_bytes(wanted, need, sizeof need), cli_bytes(room, there, sizeof there));
}

static bool take_size(transfer *t, uint64_t size) {
    if (t->f->size > 0 && size != t->f->size) {
        return refuse(t, "the server has %llu bytes, %llu were expected", (unsigned long long)size,
                      (unsigned long long)t->f->size);
    }
    t->size = size;
    if (t->f->size == 0) t->j->total = t->j->before + size;
    return enough_room(t);
}

static bool on_head(const http_reply *r, void *user) {
    transfer *t = user;
    if (r->status == 206) {
        bool other = *t->etag && *r->etag && strcmp(t->etag, r->etag) != 0;
        if (other || r->from != t->have) { /* not what the part goes on with */
            t->again = true;
            return false;
        }
        return take_size(t, r->total);
    }
    /* The whole file: Range was ignored, or the file is another one by now. */
    if (t->have > 0 && !empty_part(t)) return refuse(t, "%s: %s", t->part, strerror(errno));
    write_etag(t, r->etag);
    return r->length < 0 || take_size(t, (uint64_t)r->length);
}

static bool on_body(const void *data, size_t len, void *user) {
    transfer *t = user;
    if (t->size > 0 && len > t->size - t->have) {
        return refuse(t, "the server sends more than the %llu bytes announced",
                      (unsigned long long)t->size);
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(t->fd, (const char *)data + done, len - done, (off_t)t->have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return refuse(t, "%s: %s", t->part, strerror(errno));
        done += (size_t)n;
        t->have += (size_t)n;
    }
    return true;
}

/* ---- Trying ------------------------------------------------------------------------------------- */

const char *fetch_status_text(int status, const fetch_access *access) {
    switch (status) {
    case 401:
    case 403:
        return access && access->token
                   ? "the token in HF_TOKEN does not open it (or there is no such model)"
                   : "it is not public (or there is no such model): set HF_TOKEN to a token that "
                     "may read it";
    case 404: return "there is no such model or file";
    case 429: return "too many requests; try again later";
    default: return status >= 500 ? "the server is in trouble; try again later" : "not an answer";
    }
}

bool fetch_worth_retrying(int status) { return status == 408 || status == 429 || status >= 500; }

bool fetch_pause(int tries, int retry_after, const char *why, const fetch_options *o) {
    double seconds = retry_after > 0 ? retry_after : 0.25 * (double)(1 << bk_min_int(tries, 8));
    if (seconds > WAIT_MOST_S) seconds = WAIT_MOST_S;
    if (!o->quiet) fprintf(stderr, "%s; trying again in %.3g s\n", why, seconds);
    uint64_t end = bk_now_ns() + (uint64_t)(seconds * 1e9);
    while (!cli_interrupted && bk_now_ns() < end) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return !cli_interrupted;
}

typedef enum outcome { WHOLE, RETRY, GIVE_UP, STOP } outcome;

static outcome judge(transfer *t, http_result result, const http_reply *r) {
    char why[HTTP_WHY_CAP];
    snprintf(why, sizeof why, "%s", t->why);
    if (result == HTTP_STOPPED || cli_interrupted) return STOP;
    if (t->again) { /* the part is of another version */
        t->again = false;
        return empty_part(t) ? RETRY : GIVE_UP;
    }
    if (result == HTTP_REFUSED || result == HTTP_FAILED) return GIVE_UP;
    if (result == HTTP_DROPPED) return RETRY;
    if (r->status == 200 || r->status == 206) {
        if (t->size == 0 || t->have == t->size) return WHOLE;
        refuse(t, "the connection ended at %llu of %llu bytes", (unsigned long long)t->have,
               (unsigned long long)t->size);
        return RETRY;
    }
    if (r->status == 416 && t->have > 0) { /* the part is longer than the file is now */
        refuse(t, "the server's file has changed");
        return empty_part(t) ? RETRY : GIVE_UP;
    }
    refuse(t, "the server answers %d: %s", r->status, fetch_status_text(r->status, t->j->access));
    return fetch_worth_retrying(r->status) ? RETRY : GIVE_UP;
}

static bool is_whole(const transfer *t) { return t->f->size > 0 && t->have == t->f->size; }

/* Fetches until the part is whole. 0, EXIT_ERROR or EXIT_INTERRUPTED, with why in t->why. */
static int fetch_part(transfer *t) {
    uint64_t most = t->have, began = t->have;
    if (t->f->size > 0 && t->have > t->f->size) empty_part(t);
    /* Without a way to tell the file's version and without a sum, a part proves nothing. */
    if (!*t->etag && !*t->f->sha256) empty_part(t);
    t->size = t->f->size;
    if (!enough_room(t)) return EXIT_ERROR;
    for (int tries = 0; !is_whole(t);) {
        http_reply reply;
        http_request q = {.url = t->f->url,
                          .token = t->j->access->token,
                          .origin = t->j->access->origin,
                          .from = t->have,
                          .if_range = t->etag,
                          .head = on_head,
                          .body = on_body,
                          .tick = on_tick,
                          .user = t};
        char why[HTTP_WHY_CAP];
        t->why[0] = '\0';
        http_result result = http_get(&q, &reply, why);
        if (!*t->why) snprintf(t->why, sizeof t->why, "%s", why);
        outcome now = judge(t, result, &reply);
        if (now == WHOLE) break;
        if (now != RETRY) return now == STOP ? EXIT_INTERRUPTED : EXIT_ERROR;
        tries = t->have > most ? 0 : tries + 1;
        if (t->have > most) most = t->have;
        if (tries >= (most > began ? TRIES : FETCH_TRIES_AT_FIRST)) return EXIT_ERROR;
        cli_progress_end(&t->j->bar);
        if (!fetch_pause(tries, reply.retry_after, t->why, t->j->o)) return EXIT_INTERRUPTED;
    }
    return 0;
}

/* ---- One file ----------------------------------------------------------------------------------- */

static bool is_right(transfer *t) {
    brisk_brief brief;
    brisk_error err;
    if (*t->f->sha256) {
        return checked_file(t->part, t->f->size ? t->f->size : t->have, t->f->sha256, t->why,
                            sizeof t->why);
    }
    if (!name_ends(t->f->target, ".gguf")) return true;
    if (brisk_model_peek(t->part, &brief, &err) == BRISK_OK) return true;
    return refuse(t, "it is no whole GGUF file: %.200s",
                  err.text + bk_min_size(strlen(t->part) + 2, strlen(err.text)));
}

static bool put_in_place(transfer *t) {
    char path[PATH_CAP + 8];
    if (fsync(t->fd) != 0 || rename(t->part, t->f->target) != 0) {
        return refuse(t, "%s: %s", t->f->target, strerror(errno));
    }
    unlink(etag_path(t, path, sizeof path));
    if (*t->f->sha256) checked_note(t->f->target, t->f->sha256);
    return true;
}

/* With the part locked. */
static int fetch_locked(transfer *t) {
    for (;;) {
        int status = fetch_part(t);
        if (status) return status;
        cli_progress_end(&t->j->bar);
        if (is_right(t)) break;
        if (cli_interrupted) return EXIT_INTERRUPTED;
        bool resumed = t->resumed;
        remove_part(t);
        if (!resumed) {
            char why[HTTP_WHY_CAP];
            snprintf(why, sizeof why, "%s", t->why);
            refuse(t, "what came is not kept: %.250s", why);
            return EXIT_ERROR;
        }
        /* The fault may be in what an earlier run left: once more, from the first byte. */
        close(t->fd);
        if (!t->j->o->quiet) fprintf(stderr, "%s; fetching it again\n", t->why);
        if (!open_part(t)) return cli_failed();
        t->resumed = false;
    }
    return put_in_place(t) ? 0 : EXIT_ERROR;
}

/* Whether the file is there and right, as far as can be told without the server. */
static bool is_there(const transfer *t) {
    struct stat st;
    char why[256];
    if (t->j->o->force || stat(t->f->target, &st) != 0) return false;
    if (t->f->size > 0 && (uint64_t)st.st_size != t->f->size) return false;
    if (!*t->f->sha256 || checked_before(t->f->target, t->f->sha256)) return true;
    if (!checked_file(t->f->target, t->f->size, t->f->sha256, why, sizeof why)) return false;
    checked_note(t->f->target, t->f->sha256);
    return true;
}

static int fetch_one(job *j, const fetch_file *f) {
    transfer t = {.j = j, .f = f, .fd = -1};
    if ((size_t)snprintf(t.part, sizeof t.part, "%s.part", f->target) >= sizeof t.part)
        return cli_fail("the path is too long: %.200s", f->target);
    if (is_there(&t)) return 0;
    if (!open_part(&t)) {
        if (t.fd >= 0) close(t.fd);
        return cli_failed();
    }
    int status = 0;
    struct stat st;
    bool made_meanwhile = !j->o->force && stat(f->target, &st) == 0 && t.have == 0 && is_there(&t);
    if (made_meanwhile) {
        unlink(t.part);
    } else {
        status = fetch_locked(&t);
    }
    cli_progress_end(&j->bar);
    if (status == EXIT_ERROR) cli_fail("%s: %s", name_base(f->target), t.why);
    if (status && t.have == 0) remove_part(&t);
    char have[32], size[32];
    if (status == EXIT_INTERRUPTED && t.have > 0) {
        fprintf(stderr, "stopped; %s of %s are kept, the same command goes on from there\n",
                cli_bytes(t.have, have, sizeof have),
                t.size ? cli_bytes(t.size, size, sizeof size) : "it");
    }
    if (t.fd >= 0) close(t.fd);
    return status;
}

static void let_go(void) {
    cli_release(SIGINT);
    cli_release(SIGTERM);
    cli_release(SIGHUP);
}

int fetch_files(const fetch_file *files, size_t n, const fetch_access *access,
                const fetch_options *o) {
    job j = {.o = o, .access = access};
    for (size_t i = 0; i < n; i++) {
        if (files[i].size == 0)
            j.total = 0;
        else if (i == 0 || j.total > 0)
            j.total += files[i].size;
    }
    cli_catch(SIGINT);
    cli_catch(SIGTERM);
    cli_catch(SIGHUP);
    cli_progress_start(&j.bar, "fetching");
    int status = 0;
    for (size_t i = 0; i < n && !status; i++) {
        status = fetch_one(&j, &files[i]);
        j.before += files[i].size;
    }
    let_go();
    return status;
}
