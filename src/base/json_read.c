#include "base/json_read.h"

/* jansson recurses up to 2048 levels and a thread's stack may be small, so brackets are counted
 * before it sees the text. */
static bool shallow(bk_str json, int max_depth) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.data[i];
        if (in_string) {
            if (c == '\\') i++;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max_depth) return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

bk_status bk_json_parse(bk_str text, int max_depth, bool unique, json_t **out, bk_error *err) {
    json_error_t problem;
    *out = NULL;
    if (!shallow(text, max_depth))
        return bk_fail(err, BK_ERR_LIMIT, "JSON nested more than %d deep", max_depth);
    *out = json_loadb(text.data ? text.data : "", text.len,
                      JSON_DECODE_ANY | JSON_ALLOW_NUL | (unique ? JSON_REJECT_DUPLICATES : 0),
                      &problem);
    if (*out) return BK_OK;
    return bk_fail(err, BK_ERR_FORMAT, "not JSON: line %d, column %d: %s", problem.line,
                   problem.column, problem.text);
}
