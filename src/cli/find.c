#include "cli/find.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/names.h"

enum { PATH_CAP = 4096, FOUND_MOST = 100000 };

const char *find_text(found_list *l, const char *fmt, ...) {
    char text[2 * PATH_CAP];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = bk_min_size(n < 0 ? 0 : (size_t)n, sizeof text - 1);
    char *copy = bk_arena_alloc(&l->arena, len + 1, 1);
    if (!copy) {
        l->failed = true;
        return "";
    }
    memcpy(copy, text, len);
    return copy;
}

void find_add(found_list *l, const found *f) {
    if (l->n == l->cap && l->n < FOUND_MOST) {
        size_t cap = l->cap ? 2 * l->cap : 32;
        found *v = bk_realloc(l->v, cap, sizeof *v);
        if (v) {
            l->v = v;
            l->cap = cap;
        }
    }
    if (l->n == l->cap) {
        l->failed = true;
        return;
    }
    l->v[l->n++] = *f;
}

static bool file_bytes(const char *path, uint64_t *bytes) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    *bytes += (uint64_t)st.st_size;
    return true;
}

/* Whether this part stands for its model: the first of those that are there. */
static bool first_there(const char *path, unsigned part) {
    char other[PATH_CAP];
    uint64_t ignored = 0;
    for (unsigned i = 1; i < part; i++) {
        if (name_of_part(path, i, other, sizeof other) && file_bytes(other, &ignored)) return false;
    }
    return true;
}

static void add_parts(found_list *l, found *f, unsigned part, unsigned of) {
    char other[PATH_CAP];
    f->parts = of;
    for (unsigned i = 1; i <= of; i++) {
        if (i != part && name_of_part(f->path, i, other, sizeof other) &&
            !file_bytes(other, &f->bytes) && !f->problem) {
            f->problem = find_text(l, "part %u of %u is missing", i, of);
        }
    }
}

void find_add_file(found_list *l, const char *source, const char *repo, const char *path) {
    unsigned part = 1, of = 1;
    size_t ignored;
    bk_str stem = name_stem(path);
    bool split = name_split(path, &part, &of, &ignored);
    if (split && !first_there(path, part)) return;
    found f = {.source = source,
               .repo = find_text(l, "%s", repo),
               .tag = "",
               .path = find_text(l, "%s", path),
               .stem = find_text(l, "%.*s", (int)stem.len, stem.data),
               .parts = 1,
               .side = name_is_side(path)};
    char quant[32];
    name_quant(stem, quant, sizeof quant, NULL);
    f.name = !*repo              ? f.stem
             : *quant && !f.side ? find_text(l, "%s:%s", repo, quant)
                                 : find_text(l, "%s:%s", repo, f.stem);
    if (!file_bytes(path, &f.bytes)) {
        f.problem = errno == ENOENT ? "a link to a file that is not there: fetch it again"
                                    : find_text(l, "%s", strerror(errno));
    }
    if (split) add_parts(l, &f, part, of);
    find_add(l, &f);
}

void find_add_folder(found_list *l, const char *source, const char *repo, const char *path) {
    char file[PATH_CAP];
    uint64_t config = 0, bytes = 0;
    unsigned parts = 0;
    snprintf(file, sizeof file, "%s/config.json", path);
    DIR *d = file_bytes(file, &config) ? opendir(path) : NULL;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (strncmp(e->d_name, "model", 5) != 0 || !name_ends(e->d_name, ".safetensors")) continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        parts += file_bytes(file, &bytes);
    }
    if (d) closedir(d);
    if (parts == 0) return;
    find_add(l, &(found){.source = source,
                         .name = find_text(l, "%s", repo),
                         .repo = find_text(l, "%s", repo),
                         .tag = "",
                         .stem = "",
                         .path = find_text(l, "%s", path),
                         .bytes = bytes,
                         .parts = parts,
                         .folder = true});
}

static void walk(find_walk *w, const char *rel, int depth) {
    char path[PATH_CAP], below[PATH_CAP];
    snprintf(path, sizeof path, "%s%s%s", w->root, *rel ? "/" : "", rel);
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e = readdir(d); e && w->list->n < FOUND_MOST; e = readdir(d)) {
        struct stat st;
        if (e->d_name[0] == '.') continue;
        int n = snprintf(below, sizeof below, "%s%s%s", rel, *rel ? "/" : "", e->d_name);
        if (n < 0 || (size_t)n >= sizeof below) continue;
        n = snprintf(path, sizeof path, "%s/%s", w->root, below);
        if (n < 0 || (size_t)n >= sizeof path) continue;
        bool there = stat(path, &st) == 0;
        if (there && S_ISDIR(st.st_mode)) {
            if (w->folder) w->folder(w, path, below);
            if (depth > 1) walk(w, below, depth - 1);
        } else if (!there || S_ISREG(st.st_mode)) {
            w->file(w, path, below);
        }
    }
    closedir(d);
}

void find_walk_files(find_walk *w) { walk(w, "", w->depth); }

/* ---- The list ----------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    const found *x = a, *y = b;
    int order = strcasecmp(x->name, y->name);
    if (order == 0) order = strcmp(x->source, y->source);
    return order ? order : strcmp(x->path, y->path);
}

/* Two files of a repository with one quantisation need names that tell them apart. */
static void make_distinct(found_list *l) {
    for (size_t i = 0; i + 1 < l->n; i++) {
        found *a = &l->v[i], *b = &l->v[i + 1];
        if (strcasecmp(a->name, b->name) != 0 || strcmp(a->stem, b->stem) == 0 || !*a->repo)
            continue;
        a->name = find_text(l, "%s:%s", a->repo, a->stem);
        b->name = find_text(l, "%s:%s", b->repo, b->stem);
    }
}

void find_models(found_list *out) {
    *out = (found_list){0};
    find_in_brisk(out);
    find_in_huggingface(out);
    find_in_llamacpp(out);
    find_in_lmstudio(out);
    find_in_ollama(out);
    if (out->n == 0) return;
    qsort(out->v, out->n, sizeof *out->v, by_name);
    make_distinct(out);
    qsort(out->v, out->n, sizeof *out->v, by_name);
}

void find_free(found_list *l) {
    bk_free(l->v);
    bk_arena_free(&l->arena);
    *l = (found_list){0};
}

/* ---- Matching ----------------------------------------------------------------------------------- */

/* Whether a name without tag means this repository: all of it or its last component, in either case
 * with or without "-GGUF". */
static bool is_repo(const char *repo, bk_str wanted) {
    const char *forms[] = {repo, name_base(repo)};
    for (size_t i = 0; i < BK_ARRAY_LEN(forms) && *repo; i++) {
        bk_str form = bk_str_from(forms[i]);
        if (name_same(form, wanted)) return true;
        if (!name_ends(forms[i], "-GGUF")) continue;
        form.len -= 5;
        if (name_same(form, wanted)) return true;
    }
    return false;
}

/* The same for a file: its stem with or without the quantisation at its end, or its whole name. */
static bool is_file(const char *stem, bk_str wanted) {
    char quant[32];
    size_t at = 0;
    bk_str whole = bk_str_from(stem);
    if (wanted.len > 5 && strncasecmp(wanted.data + wanted.len - 5, ".gguf", 5) == 0)
        wanted.len -= 5;
    if (whole.len == 0 || name_same(whole, wanted)) return whole.len > 0;
    name_quant(whole, quant, sizeof quant, &at);
    return *quant && at > 1 && at + strlen(quant) == whole.len &&
           name_same((bk_str){stem, at - 1}, wanted);
}

static bool has_tag(const found *f, bk_str tag) {
    if (*f->tag) return name_same(bk_str_from(f->tag), tag);
    return name_has_tag(bk_str_from(f->stem), tag);
}

static bool matches(const found *f, const char *name) {
    bk_str all = bk_str_from(name), base = all, tag = {0};
    if (is_file(f->stem, all) && !*f->tag) return true;
    const char *colon = strrchr(name, ':');
    if (colon) {
        base.len = (size_t)(colon - name);
        tag = (bk_str){colon + 1, all.len - base.len - 1};
    }
    if (f->side || !(is_repo(f->repo, base) || is_file(f->stem, base))) return false;
    if (tag.len > 0) return has_tag(f, tag);
    return !*f->tag || strcmp(f->tag, "latest") == 0; /* as ollama has it */
}

/* The same file found in two places, or by two ways, is one candidate. */
static bool same_model(const found *a, const found *b) {
    return strcasecmp(a->name, b->name) == 0 && a->bytes == b->bytes;
}

const found *find_in_repo(const found_list *l, const char *repo, bk_str tag) {
    static const char *const preferred[] = {"Q4_K_M", "Q8_0", ""};
    for (size_t p = 0; p < BK_ARRAY_LEN(preferred); p++) {
        const found *one = NULL;
        bk_str wanted = tag.len > 0 ? tag : bk_str_from(preferred[p]);
        for (size_t i = 0; i < l->n; i++) {
            const found *f = &l->v[i];
            if (f->side || f->problem || strcasecmp(f->repo, repo) != 0) continue;
            if (wanted.len > 0 && !has_tag(f, wanted)) continue;
            if (one && !same_model(one, f)) return NULL;
            if (!one) one = f;
        }
        if (one) return one;
    }
    return NULL;
}

size_t find_match(const found_list *l, const char *name, bool *hit) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) hit[i] = false;
    for (size_t i = 0; i < l->n && n == 0; i++) {
        n += hit[i] = strcasecmp(l->v[i].name, name) == 0;
    }
    for (size_t i = 0; i < l->n && n == 0; i++) hit[i] = matches(&l->v[i], name);
    n = 0;
    for (size_t i = 0; i < l->n; i++) {
        for (size_t k = 0; k < i && hit[i]; k++) {
            if (!hit[k] || !same_model(&l->v[k], &l->v[i])) continue;
            hit[l->v[k].problem ? k : i] = false; /* rather the one that is whole */
            if (!hit[k]) n--;
        }
        n += hit[i];
    }
    return n;
}
