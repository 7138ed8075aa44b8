#include "server/tool_calls.h"

#include <sys/random.h>

#include "base/clock.h"

static bool has(bk_str text, const char *z) {
    return text.len > 0 && memmem(text.data, text.len, z, strlen(z)) != NULL;
}

sv_call_form sv_call_form_of(bk_str t) {
    if (has(t, "<function=") && has(t, "<parameter=")) return SV_CALL_FORM_XML;
    /* GLM puts something else between the same marks. */
    if (has(t, "<tool_call>") && !has(t, "<arg_key>")) return SV_CALL_FORM_HERMES;
    if (has(t, "[TOOL_CALLS]")) return SV_CALL_FORM_MISTRAL;
    bool llama = has(t, "<|start_header_id|>") && has(t, "tools") && has(t, "parameters");
    return llama || has(t, "<|python_tag|>") ? SV_CALL_FORM_LLAMA3 : SV_CALL_FORM_NONE;
}

void sv_call_id(sv_call_form form, char id[SV_CALL_ID_CAP]) {
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char prefix[] = "call_";
    uint8_t random[24] = {0};
    size_t n = 0, count = form == SV_CALL_FORM_MISTRAL ? 9 : sizeof random;
    /* Up to 256 bytes come whole once the kernel has entropy. */
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        int64_t now = bk_now_ns();
        memcpy(random, &now, sizeof now);
    }
    if (form != SV_CALL_FORM_MISTRAL) {
        memcpy(id, prefix, sizeof prefix - 1);
        n = sizeof prefix - 1;
    }
    for (size_t i = 0; i < count; i++) id[n++] = letters[random[i] % (sizeof letters - 1)];
    id[n] = '\0';
}

/* ---- JSON by its brackets ------------------------------------------------------------------- */

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static bool stands_outside_strings(char c) {
    return is_space(c) || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c && strchr("E+-.,:{}[]\"", c));
}

/* One byte; false when it has no place there. */
static bool scan_byte(sv_call_scan *s, char c) {
    if (s->in_string) {
        if ((unsigned char)c < 0x20) return false;
        bool was_escaped = s->escaped;
        s->escaped = c == '\\' && !was_escaped;
        if (c == '"' && !was_escaped) s->in_string = false;
        return true;
    }
    s->in_string = c == '"';
    if (c == '{' || c == '[') s->depth++;
    if (c == '}' || c == ']') s->depth--;
    return s->depth <= SV_CALL_JSON_DEPTH && stands_outside_strings(c);
}

sv_call_found sv_call_scan_object(sv_call_scan *s, bk_str text) {
    if (s->at < s->begin) s->at = s->begin;
    while (s->at < text.len) {
        if (!scan_byte(s, text.data[s->at])) return SV_CALL_BAD;
        s->at++;
        if (s->depth == 0) return SV_CALL_END;
    }
    return SV_CALL_MORE;
}

static size_t skip_space(bk_str t, size_t at) {
    while (at < t.len && is_space(t.data[at])) at++;
    return at;
}

/* The end of the value that begins at `at`; SIZE_MAX when the text ends before it. */
static size_t value_end(bk_str t, size_t at) {
    sv_call_scan s = {.begin = at};
    bool plain = at < t.len && !strchr("{[\"", t.data[at]);
    for (size_t i = at; i < t.len; i++) {
        if (plain && strchr(",}] \n\t\r", t.data[i])) return i;
        if (!scan_byte(&s, t.data[i])) return SIZE_MAX;
        if (!plain && s.depth == 0 && !s.in_string) return i + 1;
    }
    return SIZE_MAX;
}

bool sv_call_find_member(bk_str t, const char *key, const char *other, sv_call_member *out) {
    size_t at = skip_space(t, 0);
    if (at >= t.len || t.data[at] != '{') return false;
    for (at++;; at++) {
        size_t name = skip_space(t, at);
        if (name >= t.len || t.data[name] != '"') return false;
        size_t end = value_end(t, name);
        if (end == SIZE_MAX) return false;
        at = skip_space(t, end);
        if (at >= t.len || t.data[at] != ':') return false;
        at = skip_space(t, at + 1);
        if (at >= t.len) return false;
        size_t stop = value_end(t, at);
        bk_str found = {t.data + name + 1, end - name - 2};
        if (bk_str_eq(found, bk_str_from(key)) || (other && bk_str_eq(found, bk_str_from(other)))) {
            out->complete = stop != SIZE_MAX;
            out->value = (bk_span){at, out->complete ? stop : t.len};
            return true;
        }
        if (stop == SIZE_MAX) return false;
        at = skip_space(t, stop);
        if (at >= t.len || t.data[at] != ',') return false;
    }
}

bool sv_call_string(bk_str quoted, json_t **owner, bk_str *text) {
    if (quoted.len < 2 || quoted.data[0] != '"') return false;
    if (bk_json_parse(quoted, 1, false, owner, NULL)) return false;
    *text = bk_json_text(*owner);
    return text->data != NULL;
}

/* ---- One call ------------------------------------------------------------------------------- */

void sv_call_free(sv_call *c) {
    json_decref(c->root);
    json_decref(c->inner);
    bk_buf_free(&c->text);
    *c = (sv_call){0};
}

/* Parses text into *root; true for an object. */
static bool parse_object(bk_str text, json_t **root) {
    return !bk_json_parse(text, SV_CALL_JSON_DEPTH, true, root, NULL) && json_is_object(*root);
}

bool sv_call_parse_object(bk_str text, bool strict, sv_call *out) {
    sv_call_member m;
    *out = (sv_call){.args = BK_STR("{}")};
    if (!parse_object(text, &out->root)) return false;
    out->name = bk_json_text(json_object_get(out->root, "name"));
    if (out->name.len == 0) return false;
    if (!sv_call_find_member(text, "arguments", "parameters", &m)) return !strict;
    bk_str value = {text.data + m.value.begin, m.value.end - m.value.begin};
    if (value.data[0] == 'n') return !strict;
    /* Some models write the arguments as a string that holds JSON, as OpenAI's messages have them. */
    bk_str inside = value;
    json_t *owner = NULL;
    bool good = value.data[0] != '"' || sv_call_string(value, &owner, &inside);
    good = good && bk_buf_append(&out->text, inside.data, inside.len);
    json_decref(owner);
    out->args = bk_buf_view(&out->text);
    return good && parse_object(out->args, &out->inner);
}

bool sv_call_parse_named(bk_str name, bk_str args, sv_call *out) {
    *out = (sv_call){.name = name, .args = args};
    return name.len > 0 && parse_object(args, &out->root);
}

/* ---- The request's tools -------------------------------------------------------------------- */

static const json_t *find_function(const json_t *tools, bk_str name) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        if (name.data && bk_str_eq(bk_json_text(json_object_get(f, "name")), name)) return f;
    }
    return NULL;
}

bool sv_call_is_named(const json_t *tools, bk_str name) {
    return find_function(tools, name) != NULL;
}

static bool is_word(const json_t *v, const char *word) {
    return json_is_string(v) && bk_str_eq(bk_json_text(v), bk_str_from(word));
}

/* Whether a parameter with this schema takes strings. One that the schema does not have does; one
 * whose type it leaves open does not by itself. */
static bool takes_strings(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type");
    if (!schema || is_word(type, "string")) return true;
    for (size_t i = 0; i < json_array_size(type); i++) {
        if (is_word(json_array_get(type, i), "string")) return true;
    }
    return false;
}

/* ---- The form of Qwen3-Coder ---------------------------------------------------------------- */

static bool starts_at(bk_str t, size_t at, const char *z) {
    return at <= t.len && bk_str_starts((bk_str){t.data + at, t.len - at}, bk_str_from(z));
}

static size_t find_from(bk_str t, size_t at, const char *z) {
    const char *p = at < t.len ? memmem(t.data + at, t.len - at, z, strlen(z)) : NULL;
    return p ? (size_t)(p - t.data) : SIZE_MAX;
}

/* "<function=" NAME ">" at `at`: NAME, and *end after it. */
static bool xml_open(bk_str t, size_t at, const char *tag, bk_str *name, size_t *end) {
    size_t len = strlen(tag);
    if (!starts_at(t, at, tag)) return false;
    size_t close = find_from(t, at + len, ">");
    if (close == SIZE_MAX) return false;
    *name = (bk_str){t.data + at + len, close - at - len};
    *end = close + 1;
    for (size_t i = 0; i < name->len; i++) {
        if ((unsigned char)name->data[i] < 0x20 || name->data[i] == '<') return false;
    }
    return name->len > 0;
}

static json_t *xml_value(bk_str v, const json_t *schema) {
    json_t *parsed = NULL;
    if (v.len > 0 && v.data[0] == '\n') v = (bk_str){v.data + 1, v.len - 1};
    if (v.len > 0 && v.data[v.len - 1] == '\n') v.len--;
    if (!takes_strings(schema) && !bk_json_parse(v, SV_CALL_JSON_DEPTH, false, &parsed, NULL)) {
        return parsed;
    }
    return json_stringn(v.data, v.len);
}

/* Where the value that begins at `at` ends; *next is after its closing tag, which models forget. */
static size_t xml_value_end(bk_str t, size_t at, size_t *next) {
    static const char close[] = "</parameter>";
    size_t end = find_from(t, at, close), other = find_from(t, at, "<parameter=");
    if (end != SIZE_MAX && end < other) {
        *next = end + sizeof close - 1;
        return end;
    }
    if (other == SIZE_MAX) other = find_from(t, at, "</function>");
    *next = other;
    return other;
}

static bool xml_parameters(bk_str t, size_t at, const json_t *properties, json_t *args) {
    for (;;) {
        bk_str key;
        size_t begin, next;
        at = skip_space(t, at);
        if (starts_at(t, at, "</function>")) return true;
        if (!xml_open(t, at, "<parameter=", &key, &begin)) return false;
        size_t end = xml_value_end(t, begin, &next);
        if (end == SIZE_MAX) return false;
        json_t *value = xml_value((bk_str){t.data + begin, end - begin},
                                  json_object_getn(properties, key.data, key.len));
        if (!value || json_object_setn_new(args, key.data, key.len, value)) return false;
        at = next;
    }
}

static int append_dump(const char *data, size_t len, void *buf) {
    return bk_buf_append(buf, data, len) ? 0 : -1;
}

bool sv_call_parse_xml(bk_str text, const json_t *tools, sv_call *out) {
    size_t at;
    *out = (sv_call){0};
    if (!xml_open(text, 0, "<function=", &out->name, &at)) return false;
    const json_t *schema = json_object_get(find_function(tools, out->name), "parameters");
    out->root = json_object();
    if (!out->root) return false;
    if (!xml_parameters(text, at, json_object_get(schema, "properties"), out->root)) return false;
    if (json_dump_callback(out->root, append_dump, &out->text, JSON_COMPACT)) return false;
    out->args = bk_buf_view(&out->text);
    return true;
}
