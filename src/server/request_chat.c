/* Messages and tools of a chat request. */
#include <stdio.h>

#include "server/request.h"

enum { MAX_MESSAGES = 100000, MAX_TOOLS = 1024, MAX_CALLS = 1024, MAX_NAME = 256 };

static bool no_memory(const sv_fields *f) {
    return sv_field_fail(f, NULL, "out_of_memory", "no memory for the request");
}

static bool is_word(bk_str s, const char *word) { return bk_str_eq(s, bk_str_from(word)); }

/* A string that has to be there. */
static bool need_str(const sv_fields *f, const char *key, size_t max, bk_str *out) {
    const json_t *v = sv_field_get(f, key);
    if (!v) return sv_field_refuse(f, key, NULL, "a string");
    if (!sv_field_str(f, key, max, out)) return false;
    return out->len > 0 ? true : sv_field_fail(f, key, "invalid_value", "must not be empty");
}

/* ---- Content ------------------------------------------------------------------------------------ */

/* One part of content, appended to text. */
static bool add_part(const sv_fields *part, bk_buf *text) {
    bk_str type, piece = {0};
    if (!json_is_object(part->object)) {
        return sv_field_refuse(part, NULL, part->object, "an object with type and text");
    }
    if (!need_str(part, "type", MAX_NAME, &type)) return false;
    if (!is_word(type, "text")) {
        return sv_field_fail(part, "type", "unsupported_value",
                             "this server reads parts of type \"text\", found \"" BK_STR_FMT "\"",
                             BK_STR_ARG(type));
    }
    if (!sv_field_get(part, "text")) return sv_field_refuse(part, "text", NULL, "a string");
    if (!sv_field_str(part, "text", SIZE_MAX, &piece)) return false;
    if (text->len > 0) bk_buf_putc(text, '\n');
    return bk_buf_append(text, piece.data, piece.len) ? true : no_memory(part);
}

/* The text of an array of parts, in place of the array. Their border is a line's end: they are separate
 * to the client, and most templates know strings alone. */
static bool join_parts(const sv_fields *m, json_t *message, const json_t *parts) {
    bk_buf text = {0};
    bool good = true;
    for (size_t i = 0; good && i < json_array_size(parts); i++) {
        char path[160];
        snprintf(path, sizeof path, "%s.content[%zu]", m->path, i);
        sv_fields part = {json_array_get(parts, i), path, m->err};
        good = add_part(&part, &text);
    }
    if (good) {
        bk_str t = bk_buf_view(&text);
        good = !json_object_set_new(message, "content", json_stringn(t.data, t.len));
        if (!good) no_memory(m);
    }
    bk_buf_free(&text);
    return good;
}

static bool read_content(const sv_fields *m, json_t *message, bool needed) {
    const json_t *v = sv_field_get(m, "content");
    if (!v && needed) return sv_field_refuse(m, "content", v, "a string or an array of parts");
    if (json_is_array(v)) return join_parts(m, message, v);
    if (json_is_string(v)) return true;
    if (v) return sv_field_refuse(m, "content", v, "a string or an array of parts");
    return json_object_set_new(message, "content", json_string("")) ? no_memory(m) : true;
}

bool sv_prediction_read(const sv_fields *body, bk_str *out) {
    json_t *own = NULL;
    bk_str type;
    if (!sv_field_object(body, "prediction", &own)) return false;
    if (!own) return true;
    sv_fields f = {own, "prediction", body->err};
    if (!need_str(&f, "type", MAX_NAME, &type)) return false;
    if (!is_word(type, "content")) {
        return sv_field_fail(&f, "type", "unsupported_value",
                             "wanted \"content\", found \"" BK_STR_FMT "\"", BK_STR_ARG(type));
    }
    if (!read_content(&f, own, true)) return false;
    *out = bk_json_text(json_object_get(own, "content"));
    return true;
}

/* ---- Calls of the conversation ------------------------------------------------------------------ */

/* Arguments come as JSON text, templates want what it says. Text that is no object stays: a model's own
 * mistake must not make the rest of the conversation impossible. */
static bool read_arguments(const sv_fields *function, json_t *own) {
    json_t *args = NULL, *v = sv_field_get(function, "arguments");
    if (!v) {
        args = json_object();
    } else if (json_is_string(v)) {
        bk_str text = bk_json_text(v);
        if (text.len > 0 && bk_json_parse(text, 64, false, &args, NULL)) return true;
        if (text.len == 0) args = json_object();
        if (!json_is_object(args)) {
            json_decref(args);
            return true;
        }
    } else if (!json_is_object(v)) {
        return sv_field_refuse(function, "arguments", v, "a string or an object");
    } else {
        return true;
    }
    return json_object_set_new(own, "arguments", args) ? no_memory(function) : true;
}

static bool read_call(const sv_fields *call) {
    bk_str id, name, type = BK_STR("function");
    char path[160];
    json_t *function = NULL;
    if (!json_is_object(call->object)) {
        return sv_field_refuse(call, NULL, call->object, "an object with id and function");
    }
    if (!sv_field_str(call, "id", MAX_NAME, &id) || !sv_field_str(call, "type", MAX_NAME, &type)) {
        return false;
    }
    if (!is_word(type, "function")) {
        return sv_field_fail(call, "type", "unsupported_value", "wanted \"function\"");
    }
    if (!sv_field_object(call, "function", &function)) return false;
    if (!function) return sv_field_refuse(call, "function", NULL, "an object");
    snprintf(path, sizeof path, "%s.function", call->path);
    sv_fields f = {function, path, call->err};
    return need_str(&f, "name", MAX_NAME, &name) && read_arguments(&f, function);
}

/* An empty list is none: templates ask whether the member is there. */
static bool read_calls(const sv_fields *m, json_t *message, bool *any) {
    json_t *calls = NULL;
    if (!sv_field_array(m, "tool_calls", MAX_CALLS, &calls)) return false;
    *any = json_array_size(calls) > 0;
    if (!*any) json_object_del(message, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s.tool_calls[%zu]", m->path, i);
        sv_fields call = {json_array_get(calls, i), path, m->err};
        if (!read_call(&call)) return false;
    }
    return true;
}

/* ---- Messages ----------------------------------------------------------------------------------- */

static void drop_nulls(json_t *object) {
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(object, next, key, v) {
        if (json_is_null(v)) json_object_del(object, key);
    }
}

static bool read_role(const sv_fields *m, json_t *message, bk_str *role) {
    static const char *const known[] = {"system", "user", "assistant", "tool", "function"};
    if (!need_str(m, "role", MAX_NAME, role)) return false;
    if (is_word(*role, "developer")) {
        if (json_object_set_new(message, "role", json_string("system"))) return no_memory(m);
        *role = BK_STR("system");
        return true;
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        if (is_word(*role, known[i])) return true;
    }
    return sv_field_fail(m, "role", "invalid_value",
                         "wanted system, developer, user, assistant or tool, found \"" BK_STR_FMT
                         "\"",
                         BK_STR_ARG(*role));
}

static bool read_message(const sv_fields *m, json_t *message) {
    static const char *const texts[] = {"name", "tool_call_id", "reasoning_content"};
    bk_str role, text;
    bool calls = false;
    if (!json_is_object(message)) {
        return sv_field_refuse(m, NULL, message, "an object with role and content");
    }
    drop_nulls(message);
    if (!read_role(m, message, &role) || !read_calls(m, message, &calls)) return false;
    if (calls && !is_word(role, "assistant")) {
        return sv_field_fail(m, "tool_calls", "invalid_value",
                             "only an assistant's message has them");
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(texts); i++) {
        if (!sv_field_str(m, texts[i], SIZE_MAX, &text)) return false;
    }
    return read_content(m, message, !is_word(role, "assistant"));
}

bool sv_messages_read(const sv_fields *body, json_t **out) {
    if (!sv_field_get(body, "messages")) {
        return sv_field_refuse(body, "messages", NULL, "an array of messages");
    }
    if (!sv_field_array(body, "messages", MAX_MESSAGES, out)) return false;
    if (json_array_size(*out) == 0) {
        return sv_field_fail(body, "messages", "invalid_value", "wanted at least one message");
    }
    for (size_t i = 0; i < json_array_size(*out); i++) {
        char path[64];
        snprintf(path, sizeof path, "messages[%zu]", i);
        json_t *message = json_array_get(*out, i);
        sv_fields m = {message, path, body->err};
        if (!read_message(&m, message)) return false;
    }
    return true;
}

/* ---- Tools -------------------------------------------------------------------------------------- */

static bool read_tool(const sv_fields *tool, json_t *own) {
    bk_str type, name, text;
    char path[64];
    json_t *function = NULL, *parameters = NULL;
    if (!json_is_object(own)) {
        return sv_field_refuse(tool, NULL, own, "an object with type and function");
    }
    if (!need_str(tool, "type", MAX_NAME, &type)) return false;
    if (!is_word(type, "function")) {
        return sv_field_fail(tool, "type", "unsupported_value",
                             "this server knows tools of type \"function\", found \"" BK_STR_FMT
                             "\"",
                             BK_STR_ARG(type));
    }
    if (!sv_field_object(tool, "function", &function)) return false;
    if (!function) return sv_field_refuse(tool, "function", NULL, "an object");
    snprintf(path, sizeof path, "%s.function", tool->path);
    sv_fields f = {function, path, tool->err};
    drop_nulls(function);
    return need_str(&f, "name", MAX_NAME, &name) &&
           sv_field_str(&f, "description", SIZE_MAX, &text) &&
           sv_field_object(&f, "parameters", &parameters);
}

/* "required" and a function by name need output that is constrained. */
static bool read_choice(const sv_fields *body, bool *none) {
    bk_str word;
    const json_t *v = sv_field_get(body, "tool_choice");
    if (json_is_object(v)) {
        return sv_field_fail(body, "tool_choice", "unsupported_value",
                             "this server cannot force a call; wanted \"auto\" or \"none\"");
    }
    if (!v) return true;
    if (!sv_field_str(body, "tool_choice", MAX_NAME, &word)) return false;
    *none = is_word(word, "none");
    if (*none || is_word(word, "auto")) return true;
    bool known = is_word(word, "required");
    return sv_field_fail(body, "tool_choice", known ? "unsupported_value" : "invalid_value",
                         "%swanted \"auto\" or \"none\", found \"" BK_STR_FMT "\"",
                         known ? "this server cannot force a call; " : "", BK_STR_ARG(word));
}

bool sv_tools_read(const sv_fields *body, json_t **out, bool *may_call) {
    bool none = false;
    *out = NULL;
    if (!sv_field_array(body, "tools", MAX_TOOLS, out) || !read_choice(body, &none)) return false;
    for (size_t i = 0; i < json_array_size(*out); i++) {
        char path[48];
        snprintf(path, sizeof path, "tools[%zu]", i);
        json_t *tool = json_array_get(*out, i);
        sv_fields f = {tool, path, body->err};
        if (!read_tool(&f, tool)) return false;
    }
    if (json_array_size(*out) == 0) *out = NULL;
    *may_call = *out && !none;
    return true;
}
