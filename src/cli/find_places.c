/* Where programs keep models, as their documentation and their folders show it. */
#include <dirent.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/find.h"
#include "cli/names.h"

enum { PATH_CAP = 4096 };

/* Writes a path to out[PATH_CAP]; false when it does not fit. */
static BK_PRINTF(2, 3) bool put_path(char *out, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, PATH_CAP, fmt, args);
    va_end(args);
    return n > 0 && n < PATH_CAP;
}

/* The folder that an environment variable names, with `below` under it. False when it is not set. */
static bool from_env(const char *variable, const char *below, char *out) {
    const char *value = getenv(variable);
    if (!value || !*value) return false;
    return put_path(out, "%s%s", value, below);
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* "USER/REPO/FILE" or deeper: USER/REPO into out; otherwise "". */
static void repo_of(const char *rel, char *out, size_t cap) {
    const char *first = strchr(rel, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    snprintf(out, cap, "%.*s", second ? (int)(second - rel) : 0, rel);
}

/* ---- brisk's own folder, and LM Studio's: USER/REPO/FILE ---------------------------------------- */

static void add_by_path(find_walk *w, const char *path, const char *rel) {
    char repo[PATH_CAP];
    if (!name_ends(rel, ".gguf")) return;
    repo_of(rel, repo, sizeof repo);
    find_add_file(w->list, w->user, repo, path);
}

static void add_folder_by_path(find_walk *w, const char *path, const char *rel) {
    if (strchr(rel, '/')) find_add_folder(w->list, w->user, rel, path);
}

static void walk_repos(found_list *l, const char *root, const char *source) {
    find_walk_files(&(find_walk){.list = l,
                                 .root = root,
                                 .depth = 5,
                                 .file = add_by_path,
                                 .folder = add_folder_by_path,
                                 .user = source});
}

void find_in_brisk(found_list *l) {
    char dir[PATH_CAP];
    if (brisk_cache_dir(dir, sizeof dir, NULL) == BRISK_OK) walk_repos(l, dir, "brisk");
}

void find_in_lmstudio(found_list *l) {
    static const char *const folders[] = {"/.lmstudio/models", "/.cache/lm-studio/models"};
    char dir[PATH_CAP];
    for (size_t i = 0; i < BK_ARRAY_LEN(folders); i++) {
        if (from_env("HOME", folders[i], dir)) walk_repos(l, dir, "lmstudio");
    }
}

/* ---- Hugging Face: hub/models--USER--REPO/snapshots/REVISION/FILE, links to blobs --------------- */

static void add_snapshot(find_walk *w, const char *path, const char *rel) {
    if (name_ends(rel, ".gguf")) find_add_file(w->list, "huggingface", w->user, path);
}

static void add_revision(found_list *l, const char *repo, const char *dir) {
    find_add_folder(l, "huggingface", repo, dir);
    find_walk_files(
        &(find_walk){.list = l, .root = dir, .depth = 3, .file = add_snapshot, .user = repo});
}

/* Of several revisions the one that "main" meant last; without such a note all. */
static void add_hub_repo(found_list *l, const char *repo, const char *dir) {
    char path[PATH_CAP], revision[80] = "";
    FILE *f = put_path(path, "%s/refs/main", dir) ? fopen(path, "re") : NULL;
    if (f && !fgets(revision, sizeof revision, f)) revision[0] = '\0';
    if (f) fclose(f);
    revision[strcspn(revision, "\r\n")] = '\0';
    if (*revision && !strchr(revision, '/') && put_path(path, "%s/snapshots/%s", dir, revision) &&
        is_folder(path)) {
        add_revision(l, repo, path);
        return;
    }
    DIR *d = put_path(path, "%s/snapshots", dir) ? opendir(path) : NULL;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (e->d_name[0] == '.' || !put_path(path, "%s/snapshots/%s", dir, e->d_name)) continue;
        add_revision(l, repo, path);
    }
    if (d) closedir(d);
}

/* "models--USER--REPO" to "USER/REPO"; false for anything else. */
static bool hub_name(const char *folder, char *out, size_t cap) {
    static const char prefix[] = "models--";
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0) return false;
    snprintf(out, cap, "%s", folder + sizeof prefix - 1);
    char *dashes = strstr(out, "--");
    if (!dashes) return true;
    *dashes = '/';
    memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    return true;
}

void find_in_huggingface(found_list *l) {
    char root[PATH_CAP], dir[PATH_CAP], repo[300];
    if (!from_env("HF_HUB_CACHE", "", root) && !from_env("HF_HOME", "/hub", root) &&
        !from_env("XDG_CACHE_HOME", "/huggingface/hub", root) &&
        !from_env("HOME", "/.cache/huggingface/hub", root)) {
        return;
    }
    DIR *d = opendir(root);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (!hub_name(e->d_name, repo, sizeof repo)) continue;
        if (put_path(dir, "%s/%s", root, e->d_name)) add_hub_repo(l, repo, dir);
    }
    if (d) closedir(d);
}

/* ---- llama.cpp: USER_REPO_FILE in one folder, with manifest=USER=REPO=TAG.json beside ----------- */

/* The repository whose manifest begins the file's name; "" where there is none. */
static void llamacpp_repo(const char *root, const char *file, char *out, size_t cap) {
    static const char prefix[] = "manifest=";
    out[0] = '\0';
    DIR *d = opendir(root);
    for (struct dirent *e = d ? readdir(d) : NULL; e && !*out; e = readdir(d)) {
        if (strncmp(e->d_name, prefix, sizeof prefix - 1) != 0) continue;
        const char *user = e->d_name + sizeof prefix - 1, *repo = strchr(user, '=');
        const char *end = repo ? strchr(repo + 1, '=') : NULL;
        if (!end) continue;
        size_t n = (size_t)(repo - user), m = (size_t)(end - repo - 1);
        if (strncmp(file, user, n) == 0 && file[n] == '_' &&
            strncmp(file + n + 1, repo + 1, m) == 0 && file[n + 1 + m] == '_') {
            snprintf(out, cap, "%.*s/%.*s", (int)n, user, (int)m, repo + 1);
        }
    }
    if (d) closedir(d);
}

static void add_llamacpp(find_walk *w, const char *path, const char *rel) {
    char repo[300];
    if (!name_ends(rel, ".gguf")) return;
    llamacpp_repo(w->root, rel, repo, sizeof repo);
    find_add_file(w->list, "llama.cpp", repo, path);
}

void find_in_llamacpp(found_list *l) {
    char root[PATH_CAP];
    if (from_env("LLAMA_CACHE", "", root) || from_env("XDG_CACHE_HOME", "/llama.cpp", root) ||
        from_env("HOME", "/.cache/llama.cpp", root)) {
        find_walk_files(&(find_walk){.list = l, .root = root, .depth = 1, .file = add_llamacpp});
    }
}

/* ---- ollama: manifests/HOST/NAMESPACE/NAME/TAG name blobs --------------------------------------- */

/* The digest of the layer with the weights, "sha256:" and 64 digits, as the name of its blob. */
static bool model_blob(const char *path, char out[80]) {
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *layer;
    size_t i;
    bool good = false;
    json_array_foreach(json_object_get(root, "layers"), i, layer) {
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        const char *digest = json_string_value(json_object_get(layer, "digest"));
        if (!type || !digest || strcmp(type, "application/vnd.ollama.image.model") != 0) continue;
        good = strncmp(digest, "sha256:", 7) == 0 && strlen(digest) == 71 &&
               strspn(digest + 7, "0123456789abcdef") == 64;
        if (good) snprintf(out, 80, "sha256-%s", digest + 7);
        break;
    }
    json_decref(root);
    return good;
}

static void add_ollama(find_walk *w, const char *path, const char *rel) {
    static const char common[] = "registry.ollama.ai/", own[] = "library/";
    char name[PATH_CAP], blob[80], file[PATH_CAP];
    if (strncmp(rel, common, sizeof common - 1) == 0) rel += sizeof common - 1;
    if (strncmp(rel, own, sizeof own - 1) == 0) rel += sizeof own - 1;
    snprintf(name, sizeof name, "%s", rel);
    char *tag = strrchr(name, '/');
    if (!tag) return;
    *tag++ = '\0';
    found f = {.source = "ollama",
               .name = find_text(w->list, "%s:%s", name, tag),
               .repo = find_text(w->list, "%s", name),
               .tag = find_text(w->list, "%s", tag),
               .stem = "",
               .path = find_text(w->list, "%s", path),
               .parts = 1};
    struct stat st;
    if (!model_blob(path, blob) || !put_path(file, "%s/blobs/%s", (const char *)w->user, blob)) {
        f.problem = "its manifest names no model";
    } else {
        f.path = find_text(w->list, "%s", file);
        if (stat(file, &st) == 0) {
            f.bytes = (uint64_t)st.st_size;
        } else {
            f.problem = "its blob is not there";
        }
    }
    find_add(w->list, &f);
}

static void add_ollama_root(found_list *l, const char *root) {
    char dir[PATH_CAP];
    if (!put_path(dir, "%s/manifests", root)) return;
    find_walk_files(
        &(find_walk){.list = l, .root = dir, .depth = 5, .file = add_ollama, .user = root});
}

void find_in_ollama(found_list *l) {
    char root[PATH_CAP];
    if (from_env("OLLAMA_MODELS", "", root)) {
        add_ollama_root(l, root);
        return;
    }
    if (from_env("HOME", "/.ollama/models", root)) add_ollama_root(l, root);
    add_ollama_root(l, "/usr/share/ollama/.ollama/models");
}
