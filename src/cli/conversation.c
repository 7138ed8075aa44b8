/* A list of messages, in memory and in files. */
#include <jansson.h>
#include <string.h>

#include "base/json_write.h"
#include "base/mem.h"
#include "cli/run.h"

bool conversation_push(conversation *c, const char *role, const char *text, size_t len) {
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        brisk_chat_message *m = bk_realloc(c->messages, cap, sizeof *m);
        if (!m) return false;
        c->messages = m;
        c->cap = cap;
    }
    char *copy = bk_strndup(text, len);
    if (!copy) return false;
    c->messages[c->n++] = (brisk_chat_message){role, copy};
    return true;
}

void conversation_pop(conversation *c) { bk_free((void *)(uintptr_t)c->messages[--c->n].content); }

void conversation_free(conversation *c) {
    while (c->n > 0) conversation_pop(c);
    bk_free(c->messages);
    *c = (conversation){0};
}

bool conversation_save(const conversation *c, const char *path) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < c->n; i++) {
        bk_buf_putc(&out, '\n'); /* a line each */
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "role", c->messages[i].role);
        bk_json_key_str(&w, "content", c->messages[i].content);
        bk_json_end(&w, '}');
    }
    bk_json_end(&w, ']');
    bk_buf_putc(&out, '\n');
    bool good = !out.failed && cli_write_file(path, out.data, out.len);
    if (out.failed) cli_fail("no memory to write the conversation");
    bk_buf_free(&out);
    return good;
}

static const char *known_role(const char *role) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < BK_ARRAY_LEN(roles) && role; i++) {
        if (strcmp(role, roles[i]) == 0) return roles[i];
    }
    return NULL;
}

static bool take_messages(const json_t *list, const char *path, conversation *out) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        const char *role = known_role(json_string_value(json_object_get(m, "role")));
        const json_t *content = json_object_get(m, "content");
        if (!role || !json_is_string(content)) {
            cli_fail("%s: message %zu has no %s", path, i + 1,
                     role ? "content that is text"
                          : "role that is system, user, assistant or tool");
            return false;
        }
        if (!conversation_push(out, role, json_string_value(content),
                               json_string_length(content))) {
            cli_fail("no memory for the conversation");
            return false;
        }
    }
    return true;
}

bool conversation_load(const char *path, conversation *out) {
    bk_buf text = {.limit = 256u << 20};
    json_error_t error;
    conversation loaded = {0};
    if (!cli_read_file(path, &text)) {
        bk_buf_free(&text);
        return false;
    }
    json_t *root = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_is_object(root) ? json_object_get(root, "messages") : root;
    bool good = false;
    if (!json_is_array(list)) {
        cli_fail("%s: no JSON list of messages (%s, line %d)", path,
                 root ? "another value" : error.text, root ? 1 : error.line);
    } else {
        good = take_messages(list, path, &loaded);
    }
    json_decref(root);
    bk_buf_free(&text);
    if (!good) {
        conversation_free(&loaded);
        return false;
    }
    conversation_free(out);
    *out = loaded;
    return true;
}
