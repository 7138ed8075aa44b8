#include "cli/hub.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "cli/names.h"

/* ---- Reading ------------------------------------------------------------------------------------ */

static bool take_file(hub_listing *l, const json_t *sibling) {
    const char *path = json_string_value(json_object_get(sibling, "rfilename"));
    const json_t *lfs = json_object_get(sibling, "lfs"), *size = json_object_get(sibling, "size");
    const char *sha = json_string_value(json_object_get(lfs, "sha256"));
    if (!path || !name_is_inside(path)) return true;
    hub_file *f = &l->files[l->n];
    size_t len = strlen(path);
    char *copy = bk_arena_alloc(&l->arena, len + 1, 1);
    if (!copy) return false;
    memcpy(copy, path, len);
    f->path = copy;
    if (!json_is_integer(size)) size = json_object_get(lfs, "size");
    if (json_integer_value(size) > 0) f->size = (uint64_t)json_integer_value(size);
    if (sha && strlen(sha) == 64 && strspn(sha, "0123456789abcdef") == 64)
        memcpy(f->sha256, sha, 64);
    l->n++;
    return true;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const hub_file *)a)->path, ((const hub_file *)b)->path);
}

bool hub_parse(bk_str json, hub_listing *out, char *why) {
    json_error_t error;
    *out = (hub_listing){0};
    json_t *root = json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *siblings = json_object_get(root, "siblings");
    size_t n = json_array_size(siblings);
    bool good = json_is_array(siblings) && n <= HUB_FILES_MOST;
    if (!good) {
        snprintf(why, HUB_WHY_CAP, "the hub's answer is not a list of files (%.100s)",
                 root ? "no siblings, or too many" : error.text);
    } else if (n > 0) {
        out->files = bk_arena_alloc(&out->arena, n, sizeof *out->files);
        good = out->files != NULL;
        for (size_t i = 0; i < n && good; i++) good = take_file(out, json_array_get(siblings, i));
        if (!good) snprintf(why, HUB_WHY_CAP, "no memory for the list of files");
    }
    if (good && out->n > 0) qsort(out->files, out->n, sizeof *out->files, by_path);
    json_decref(root);
    return good;
}

void hub_free(hub_listing *l) {
    bk_arena_free(&l->arena);
    *l = (hub_listing){0};
}

/* ---- Choosing ----------------------------------------------------------------------------------- */

/* A GGUF file that is a model, of a split one the first part. */
static bool is_model(const hub_file *f) {
    unsigned part, of;
    size_t stem;
    if (!name_ends(f->path, ".gguf") || name_is_side(f->path)) return false;
    return !name_split(name_base(f->path), &part, &of, &stem) || part == 1;
}

/* The quantisation may also be the folder's name: "Q4_K_M/model-00001-of-00002.gguf". */
static bool has_tag(const hub_file *f, bk_str tag) {
    bk_str folder = {f->path, strcspn(f->path, "/")};
    if (name_has_tag(name_stem(f->path), tag)) return true;
    return f->path[folder.len] == '/' && name_same(folder, tag);
}

/* How many models have the tag (any, when it is empty); *at gets the first. */
static size_t count_tag(const hub_listing *l, bk_str tag, size_t *at) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!is_model(&l->files[i]) || (tag.len > 0 && !has_tag(&l->files[i], tag))) continue;
        if (n++ == 0) *at = i;
    }
    return n;
}

/* The models that there are, by their quantisation or, where that is not enough, by their names. */
static void list_models(const hub_listing *l, const char *before, bool names, char *why) {
    int n = snprintf(why, HUB_WHY_CAP, "%s", before);
    for (size_t i = 0; i < l->n && n > 0 && n < HUB_WHY_CAP - 60; i++) {
        char quant[32];
        if (!is_model(&l->files[i])) continue;
        bk_str stem = name_stem(l->files[i].path);
        name_quant(stem, quant, sizeof quant, NULL);
        bool by_quant = *quant && !names;
        n += snprintf(why + n, HUB_WHY_CAP - (size_t)n, " %.*s",
                      by_quant ? (int)strlen(quant) : (int)bk_min_size(stem.len, 50),
                      by_quant ? quant : stem.data);
    }
}

static void swap(hub_listing *l, size_t a, size_t b) {
    hub_file was = l->files[a];
    l->files[a] = l->files[b];
    l->files[b] = was;
}

/* Brings all parts of the model at `first` to the front. */
static size_t take_parts(hub_listing *l, size_t first, char *why) {
    unsigned part, of = 1;
    size_t stem;
    char name[1100];
    const char *path = l->files[first].path;
    bool split = name_split(path, &part, &of, &stem);
    for (unsigned p = 1; split && p <= of; p++) {
        size_t i = 0;
        if (!name_of_part(path, p, name, sizeof name)) return 0;
        while (i < l->n && strcmp(l->files[i].path, name) != 0) i++;
        if (i == l->n) {
            snprintf(why, HUB_WHY_CAP, "the repository lacks part %u of %u of %.200s", p, of, path);
            return 0;
        }
        swap(l, p - 1, i);
    }
    if (!split) swap(l, 0, first);
    return of;
}

static bool of_folder(const char *path) {
    static const char *const names[] = {"config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "tokenizer.model",
                                        "generation_config.json",
                                        "special_tokens_map.json",
                                        "chat_template.jinja",
                                        "model.safetensors.index.json"};
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        if (strcmp(path, names[i]) == 0) return true;
    }
    return !strchr(path, '/') && strncmp(path, "model", 5) == 0 && name_ends(path, ".safetensors");
}

static size_t take_folder(hub_listing *l) {
    size_t n = 0, weights = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!of_folder(l->files[i].path)) continue;
        weights += name_ends(l->files[i].path, ".safetensors");
        swap(l, n++, i);
    }
    return weights > 0 ? n : 0;
}

size_t hub_choose(hub_listing *l, bk_str tag, char *why) {
    static const bk_str preferred[] = {{"Q4_K_M", 6}, {"Q8_0", 4}};
    size_t at = 0, all = count_tag(l, (bk_str){0}, &at), n = 0;
    if (all == 0) {
        n = tag.len > 0 ? 0 : take_folder(l);
        if (n == 0) snprintf(why, HUB_WHY_CAP, "the repository has no GGUF file");
        return n;
    }
    if (tag.len > 0) {
        n = count_tag(l, tag, &at);
    } else if (all == 1) {
        n = 1;
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(preferred) && tag.len == 0 && n == 0; i++) {
        n = count_tag(l, preferred[i], &at);
    }
    if (n == 1) return take_parts(l, at, why);
    char before[120] = "name one of these after a colon:";
    if (tag.len > 0) {
        snprintf(before, sizeof before,
                 "%s file is called %.*s; there is:", n == 0 ? "no" : "more than one",
                 (int)bk_min_size(tag.len, 40), tag.data);
    }
    list_models(l, before, n > 1, why);
    return 0;
}
