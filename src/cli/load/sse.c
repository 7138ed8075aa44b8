#include "cli/load/sse.h"

static bool end_of_event(load_sse *s, load_sse_event event, void *user) {
    bool had = s->has_data, good = true;
    if (had) good = event(bk_buf_view(&s->data), user);
    s->has_data = false;
    bk_buf_clear(&s->data);
    return good;
}

static bool take_line(load_sse *s, bk_str line, load_sse_event event, void *user) {
    if (!s->begun && bk_str_starts(line, BK_STR("\xEF\xBB\xBF"))) line.data += 3, line.len -= 3;
    s->begun = true;
    if (line.len == 0) return end_of_event(s, event, user);
    const char *colon = memchr(line.data, ':', line.len);
    bk_str name = {line.data, colon ? (size_t)(colon - line.data) : line.len};
    if (!bk_str_eq(name, BK_STR("data"))) return true;
    size_t skip = name.len + (colon != NULL);
    if (skip < line.len && line.data[skip] == ' ') skip++;
    if (s->has_data) bk_buf_putc(&s->data, '\n');
    s->has_data = true;
    s->data.limit = LOAD_SSE_EVENT_MOST;
    return bk_buf_append(&s->data, line.data + skip, line.len - skip);
}

/* A line that came in one piece is taken from where it lies. */
static bool finish_line(load_sse *s, bk_str end, load_sse_event event, void *user) {
    if (s->line.len == 0) return take_line(s, end, event, user);
    if (!bk_buf_append(&s->line, end.data, end.len)) return false;
    bool good = take_line(s, bk_buf_view(&s->line), event, user);
    bk_buf_clear(&s->line);
    return good;
}

bool load_sse_feed(load_sse *s, const char *bytes, size_t len, load_sse_event event, void *user) {
    size_t begin = 0;
    s->line.limit = LOAD_SSE_EVENT_MOST;
    for (size_t i = 0; i < len; i++) {
        bool second = s->after_cr && bytes[i] == '\n'; /* of CRLF */
        s->after_cr = bytes[i] == '\r';
        if (second) begin = i + 1;
        if (second || (bytes[i] != '\n' && bytes[i] != '\r')) continue;
        if (!finish_line(s, (bk_str){bytes + begin, i - begin}, event, user)) return false;
        begin = i + 1;
    }
    return begin == len || bk_buf_append(&s->line, bytes + begin, len - begin);
}

void load_sse_free(load_sse *s) {
    bk_buf_free(&s->line);
    bk_buf_free(&s->data);
    *s = (load_sse){.begun = false};
}
