/* Prompts, token ids and what else a request has lists of. */
#include <math.h>
#include <stdio.h>

#include "server/request.h"

static bool no_memory(const sv_fields *f) {
    return sv_field_fail(f, NULL, "out_of_memory", "no memory for the request");
}

/* Token ids of an array; name is its field's. */
static bool read_ids(const sv_fields *f, const char *name, const json_t *array, int n_vocab,
                     bk_arena *memory, const brisk_token **out, size_t *n) {
    size_t count = json_array_size(array);
    brisk_token *ids = count ? bk_arena_alloc(memory, count, sizeof *ids) : NULL;
    if (count && !ids) return no_memory(f);
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id >= 0 && id < n_vocab) {
            ids[i] = (brisk_token)id;
            continue;
        }
        char field[96], wanted[64];
        snprintf(field, sizeof field, "%s[%zu]", name, i);
        snprintf(wanted, sizeof wanted, "a token id, a number from 0 to %d", n_vocab - 1);
        return sv_field_refuse(f, field, v, wanted);
    }
    *out = ids;
    *n = count;
    return true;
}

bool sv_token_ids_read(const sv_fields *f, const char *key, size_t max, int n_vocab,
                       bk_arena *memory, const brisk_token **out, size_t *n) {
    json_t *array = NULL;
    *out = NULL;
    *n = 0;
    return sv_field_array(f, key, max, &array) && read_ids(f, key, array, n_vocab, memory, out, n);
}

/* A prompt that is a string or an array of ids, in an array of prompts. */
static bool read_prompt(const sv_fields *f, const char *name, const json_t *v, int n_vocab,
                        bk_arena *memory, sv_prompt *out) {
    *out = (sv_prompt){.text = bk_json_text(v)};
    if (out->text.data) return true;
    if (!json_is_array(v)) return sv_field_refuse(f, name, v, "a string or an array of token ids");
    if (json_array_size(v) == 0) return sv_field_fail(f, name, "invalid_value", "has no tokens");
    return read_ids(f, name, v, n_vocab, memory, &out->tokens, &out->n_tokens);
}

bool sv_prompts_read(const sv_fields *f, const char *key, size_t max, int n_vocab, bk_arena *memory,
                     const sv_prompt **out, size_t *n) {
    const json_t *v = sv_field_get(f, key);
    const json_t *first = json_array_get(v, 0);
    bool many = json_is_string(first) || json_is_array(first);
    if (!json_is_string(v) && !json_is_array(v)) {
        return sv_field_refuse(f, key, v, "a string, strings, token ids or arrays of token ids");
    }
    if (json_is_array(v) && !first) {
        return sv_field_fail(f, key, "invalid_value", "wanted at least one prompt");
    }
    size_t count = many ? json_array_size(v) : 1;
    if (count > max) {
        return sv_field_fail(f, key, "invalid_value", "wanted at most %zu prompts, found %zu", max,
                             count);
    }
    sv_prompt *prompts = bk_arena_alloc(memory, count, sizeof *prompts);
    if (!prompts) return no_memory(f);
    for (size_t i = 0; many && i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s[%zu]", key, i);
        if (!read_prompt(f, name, json_array_get(v, i), n_vocab, memory, &prompts[i])) return false;
    }
    if (!many && !read_prompt(f, key, v, n_vocab, memory, &prompts[0])) return false;
    *out = prompts;
    *n = count;
    return true;
}
