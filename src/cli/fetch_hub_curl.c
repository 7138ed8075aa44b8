/* From user/repo[:quantisation] or a URL to the files to fetch. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/find.h"
#include "cli/http.h"
#include "cli/hub.h"
#include "cli/names.h"

enum { URL_CAP = 8192, PATH_CAP = 4096 };

static const char *env_or(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

/* The hub's address without slashes at its end. */
static void endpoint(char *out, size_t cap) {
    snprintf(out, cap, "%s", env_or("HF_ENDPOINT", "https://huggingface.co"));
    for (size_t n = strlen(out); n > 0 && out[n - 1] == '/'; n--) out[n - 1] = '\0';
}

/* HF_TOKEN for the hub's own origin. origin[cap] must live as long as the result. */
static fetch_access hub_access(char *origin, size_t cap) {
    char hub[1024];
    endpoint(hub, sizeof hub);
    fetch_access a = {.token = env_or("HF_TOKEN", NULL)};
    if (a.token && strpbrk(a.token, "\r\n")) a.token = NULL; /* it could smuggle in a header */
    if (http_origin(hub, origin, cap)) a.origin = origin;
    return a;
}

static bool cache_path(char *out, size_t cap, const char *folder, const char *file) {
    char dir[2048];
    brisk_error err;
    if (brisk_cache_dir(dir, sizeof dir, &err)) {
        cli_fail("%s; set BRISK_CACHE to a folder you may write", err.text);
        return false;
    }
    int n = snprintf(out, cap, "%s/%s%s%s", dir, folder, *file ? "/" : "", file);
    if (n > 0 && (size_t)n < cap) return true;
    cli_fail("the path is too long: %.200s", file);
    return false;
}

/* ---- A URL -------------------------------------------------------------------------------------- */

int fetch_url(const char *url, char *path, size_t cap, const fetch_options *o) {
    char origin[512], hub[512], name[512], host[512];
    if (!http_origin(url, origin, sizeof origin)) return cli_fail("'%.200s' is no address", url);
    const char *rest = url + strlen(origin), *end = rest + strcspn(rest, "?#"), *base = end;
    while (base > rest && base[-1] != '/') base--;
    snprintf(name, sizeof name, "%.*s", (int)(end - base), base);
    if (!name_ends(name, ".gguf") || !name_is_inside(name)) {
        return cli_fail("'%.200s' does not name a .gguf file", url);
    }
    const char *user = strrchr(origin, '@');
    snprintf(host, sizeof host, "%s", user ? user + 1 : strstr(origin, "://") + 3);
    if (!name_is_inside(host)) return cli_fail("'%.200s' has no usable host name", url);
    if (!cache_path(path, cap, host, name)) return EXIT_ERROR;
    fetch_access access = hub_access(hub, sizeof hub);
    return fetch_files(&(fetch_file){.url = url, .target = path}, 1, &access, o);
}

/* ---- The hub ------------------------------------------------------------------------------------ */

/* Appends a path, its odd characters as %XX. */
static void append_path(bk_buf *url, const char *path) {
    for (const char *p = path; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-._~/", *p);
        if (plain)
            bk_buf_putc(url, *p);
        else
            bk_buf_printf(url, "%%%02X", (unsigned char)*p);
    }
}

static bool to_buf(const void *data, size_t len, void *user) {
    return bk_buf_append(user, data, len);
}

/* One answer of the hub into text; tries again where that may help. */
static http_result ask(const http_request *q, bk_buf *text, http_reply *reply, char *why,
                       const fetch_options *o) {
    for (int tries = 1;; tries++) {
        bk_buf_clear(text);
        http_result result = http_get(q, reply, why);
        bool again =
            result == HTTP_DROPPED || (result == HTTP_DONE && fetch_worth_retrying(reply->status));
        if (!again || tries == FETCH_TRIES_AT_FIRST) return result;
        char said[HTTP_WHY_CAP];
        snprintf(said, sizeof said, "the hub answers %d", reply->status);
        if (!fetch_pause(tries, reply->retry_after, result == HTTP_DONE ? said : why, o))
            return HTTP_STOPPED;
    }
}

/* The hub's list of a repository's files. 0 or an exit status. */
static int read_listing(const char *repo, const fetch_access *access, hub_listing *l,
                        const fetch_options *o) {
    char hub[1024], url[2048], why[HTTP_WHY_CAP], what[HUB_WHY_CAP];
    endpoint(hub, sizeof hub);
    snprintf(url, sizeof url, "%s/api/models/%s/revision/main?blobs=true", hub, repo);
    bk_buf text = {.limit = 32u << 20};
    http_request q = {.url = url,
                      .token = access->token,
                      .origin = access->origin,
                      .if_range = "",
                      .body = to_buf,
                      .user = &text};
    http_reply reply;
    http_result result = ask(&q, &text, &reply, why, o);
    int status = 0;
    if (result == HTTP_STOPPED) {
        status = EXIT_INTERRUPTED;
    } else if (result != HTTP_DONE) {
        status = cli_fail("cannot ask %s about %s: %s", hub, repo,
                          text.failed ? "the answer is too long" : why);
    } else if (reply.status != 200) {
        status = cli_fail("%s: %s answers %d: %s", repo, hub, reply.status,
                          fetch_status_text(reply.status, access));
    } else if (!hub_parse(bk_buf_view(&text), l, what)) {
        status = cli_fail("%s: %s", repo, what);
    }
    bk_buf_free(&text);
    return status;
}

static const char *keep_text(bk_arena *arena, const char *text) {
    char *copy = bk_arena_alloc(arena, strlen(text) + 1, 1);
    if (copy) memcpy(copy, text, strlen(text));
    return copy;
}

/* Fills the file to fetch for one of the listing. */
static bool plan_file(hub_listing *l, const hub_file *from, const char *repo, fetch_file *out) {
    char hub[1024], target[PATH_CAP];
    bk_buf url = {.limit = URL_CAP};
    endpoint(hub, sizeof hub);
    bk_buf_printf(&url, "%s/%s/resolve/main/", hub, repo);
    append_path(&url, from->path);
    bool good = !url.failed && cache_path(target, sizeof target, repo, from->path);
    *out = (fetch_file){.size = from->size};
    memcpy(out->sha256, from->sha256, sizeof out->sha256);
    if (good) {
        out->url = keep_text(&l->arena, url.data);
        out->target = keep_text(&l->arena, target);
        good = out->url && out->target;
    }
    bk_buf_free(&url);
    return good || cli_fail("no memory for the list of files") == 0;
}

static int fetch_listing(hub_listing *l, const char *repo, bk_str tag, const fetch_access *access,
                         char *path, size_t cap, const fetch_options *o) {
    char why[HUB_WHY_CAP], size[32];
    size_t n = hub_choose(l, tag, why);
    if (n == 0) return cli_fail("%s: %s", repo, why);
    fetch_file *files = bk_arena_alloc(&l->arena, n, sizeof *files);
    uint64_t total = 0;
    if (!files) return cli_fail("no memory for the list of files");
    for (size_t i = 0; i < n; i++) {
        if (!plan_file(l, &l->files[i], repo, &files[i])) return EXIT_ERROR;
        total += files[i].size;
    }
    bool folder = !name_ends(files[0].target, ".gguf");
    if (!cache_path(path, cap, repo, folder ? "" : l->files[0].path)) return EXIT_ERROR;
    if (!o->quiet) {
        fprintf(stderr, "%s: %s%s, %s\n", repo, l->files[0].path, n > 1 ? " and more" : "",
                cli_bytes(total, size, sizeof size));
    }
    return fetch_files(files, n, access, o);
}

/* Whether a model that fits is on this machine: its path. */
static bool have_already(const char *repo, bk_str tag, char *path, size_t cap) {
    found_list list;
    find_models(&list);
    const found *f = find_in_repo(&list, repo, tag);
    bool good = f && (size_t)snprintf(path, cap, "%s", f->path) < cap;
    find_free(&list);
    return good;
}

int fetch_hub(const char *name, char *path, size_t cap, const fetch_options *o) {
    bk_str repo_name, tag;
    char repo[256], origin[512];
    if (!name_repo(name, &repo_name, &tag)) {
        return cli_fail("'%.100s' is not of the form user/repo or user/repo:quantization", name);
    }
    snprintf(repo, sizeof repo, "%.*s", (int)repo_name.len, repo_name.data);
    if (o->keep && have_already(repo, tag, path, cap)) return 0;
    fetch_access access = hub_access(origin, sizeof origin);
    hub_listing l = {0};
    cli_catch(SIGINT);
    int status = read_listing(repo, &access, &l, o);
    if (!status) status = fetch_listing(&l, repo, tag, &access, path, cap, o);
    hub_free(&l);
    cli_release(SIGINT);
    return status;
}
