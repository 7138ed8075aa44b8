#include "server/http.h"

#include <string.h>

/* ---- Words -------------------------------------------------------------------------------------- */

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool sv_same_word(bk_str a, const char *z) {
    size_t i = 0;
    for (; i < a.len && z[i]; i++) {
        if (lower(a.data[i]) != lower(z[i])) return false;
    }
    return i == a.len && !z[i];
}

static bk_str trim(bk_str s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) s.data++, s.len--;
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) s.len--;
    return s;
}

bool sv_list_has(bk_str list, const char *word) {
    size_t at = 0;
    while (at < list.len) {
        const char *comma = memchr(list.data + at, ',', list.len - at);
        size_t end = comma ? (size_t)(comma - list.data) : list.len;
        bk_str one = {list.data + at, end - at};
        const char *semicolon = memchr(one.data, ';', one.len);
        if (semicolon) one.len = (size_t)(semicolon - one.data);
        if (sv_same_word(trim(one), word)) return true;
        at = end + 1;
    }
    return false;
}

static bool is_token_char(char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c && strchr("!#$%&'*+-.^_`|~", c);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

const char *sv_status_name(int status) {
    static const struct {
        int status;
        const char *name;
    } names[] = {
        {100, "Continue"},
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        if (names[i].status == status) return names[i].name;
    }
    return "";
}

/* ---- Finding the end ---------------------------------------------------------------------------- */

size_t sv_head_find(const char *data, size_t len, int *refused) {
    size_t most = bk_min_size(len, SV_HEAD_MOST), line = 0, lines = 0;
    *refused = 0;
    for (size_t i = 0; i < most; i++) {
        if (data[i] == '\0') *refused = 400;
        if (data[i] != '\n') continue;
        if (i == 0 || data[i - 1] != '\r') *refused = 400; /* others may end a line elsewhere */
        if (*refused) return 0;
        if (i - line == 1 && line > 0) return i + 1;
        if (i - line > 1) lines++;
        line = i + 1;
    }
    if (*refused) return 0;
    if (len >= SV_HEAD_MOST || lines > SV_HEADERS_MOST + 1) *refused = lines > 0 ? 431 : 414;
    return 0;
}

/* ---- The request line --------------------------------------------------------------------------- */

static int take_method(bk_str name, sv_head *out) {
    static const struct {
        const char *name;
        sv_method method;
    } methods[] = {{"GET", SV_GET},           {"HEAD", SV_HEAD},        {"POST", SV_POST},
                   {"OPTIONS", SV_OPTIONS},   {"PUT", SV_OTHER_METHOD}, {"DELETE", SV_OTHER_METHOD},
                   {"PATCH", SV_OTHER_METHOD}};
    out->method_name = name;
    for (size_t i = 0; i < BK_ARRAY_LEN(methods); i++) {
        if (!bk_str_eq(name, bk_str_from(methods[i].name))) continue;
        out->method = methods[i].method;
        return 0;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!is_token_char(name.data[i])) return 400;
    }
    return name.len > 0 ? 501 : 400;
}

/* Decodes percent signs in place; false for broken ones and for control characters. */
static bool decode_path(char *at, size_t len, bk_str *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)at[i];
        if (c == '%') {
            int high = len - i > 2 ? hex_digit(at[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(at[i + 2]) : -1;
            if (low < 0) return false;
            c = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (c < 32 || c == 127) return false;
        at[n++] = (char)c;
    }
    *out = (bk_str){at, n};
    return bk_utf8_valid_len(at, n) == n;
}

/* "/v1/models?x=1" or "http://host/v1/models". */
static int take_target(char *at, size_t len, sv_head *out) {
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)at[i] <= 32 || at[i] == 127) return 400;
    }
    static const char scheme[] = "http://";
    if (len > sizeof scheme - 1 && memcmp(at, scheme, sizeof scheme - 1) == 0) {
        at += sizeof scheme - 1;
        len -= sizeof scheme - 1;
        char *slash = memchr(at, '/', len);
        if (!slash) return 400;
        out->host = (bk_str){at, (size_t)(slash - at)};
        len -= out->host.len;
        at = slash;
    }
    if (len == 0 || at[0] != '/') return 400;
    char *mark = memchr(at, '?', len);
    size_t path = mark ? (size_t)(mark - at) : len;
    if (mark) out->query = (bk_str){mark + 1, len - path - 1};
    return decode_path(at, path, &out->path) ? 0 : 400;
}

static int take_request_line(char *at, size_t len, sv_head *out, const char **why) {
    char *first = memchr(at, ' ', len);
    char *last = first ? memchr(first + 1, ' ', len - (size_t)(first + 1 - at)) : NULL;
    *why = "the first line is not METHOD /path HTTP/1.1";
    if (!last) return 400;
    bk_str version = {last + 1, len - (size_t)(last + 1 - at)};
    int bad = take_method((bk_str){at, (size_t)(first - at)}, out);
    if (bad == 501) *why = "unknown method";
    if (bad) return bad;
    if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.')
        return 400;
    *why = "the server speaks HTTP/1.1";
    if (version.data[5] != '1' || version.data[7] < '0' || version.data[7] > '9') return 505;
    out->minor = version.data[7] == '0' ? 0 : 1;
    *why = "the path is not one";
    return take_target(first + 1, (size_t)(last - first - 1), out);
}

/* ---- Headers ------------------------------------------------------------------------------------ */

typedef struct head_values {
    bk_str connection, length, transfer, expect, encoding;
    bool target_host; /* named by the target */
} head_values;

/* Stores a header that matters; false when it is there twice. */
static bool store(bk_str name, bk_str value, sv_head *h, head_values *v) {
    const struct {
        const char *name;
        bk_str *to;
        bool once; /* two of them would contradict each other */
    } known[] = {
        {"host", &h->host, true},
        {"content-length", &v->length, true},
        {"transfer-encoding", &v->transfer, true},
        {"authorization", &h->authorization, true},
        {"x-api-key", &h->api_key, true},
        {"origin", &h->origin, true},
        {"content-type", &h->content_type, true},
        {"expect", &v->expect, true},
        {"content-encoding", &v->encoding, true},
        {"connection", &v->connection, false},
        {"x-request-id", &h->request_id, false},
        {"accept-encoding", &h->accept_encoding, false},
        {"if-none-match", &h->if_none_match, false},
        {"access-control-request-method", &h->asked_method, false},
        {"access-control-request-headers", &h->asked_headers, false},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        if (!sv_same_word(name, known[i].name)) continue;
        if (known[i].to == &h->host && v->target_host) return true; /* the target's counts */
        if (known[i].to->data && known[i].once) return false;
        *known[i].to = value;
        return true;
    }
    return true;
}

static const char *take_header(bk_str line, sv_head *h, head_values *v) {
    size_t n = 0;
    while (n < line.len && is_token_char(line.data[n])) n++;
    if (n == 0 || n == line.len || line.data[n] != ':') return "a header line is not name: value";
    bk_str value = trim((bk_str){line.data + n + 1, line.len - n - 1});
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if ((c < 32 && c != '\t') || c == 127) return "a header has a control character";
    }
    if (!store((bk_str){line.data, n}, value, h, v)) return "a header is there twice";
    return NULL;
}

static bool take_length(bk_str text, uint64_t *out) {
    uint64_t n = 0;
    if (text.len == 0 || text.len > 18) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = n;
    return true;
}

/* What the headers say about the message's end and the connection. */
static int take_framing(sv_head *h, const head_values *v, const char **why) {
    if (v->length.data && v->transfer.data) {
        *why = "Content-Length and Transfer-Encoding together";
        return 400;
    }
    if (v->length.data && !take_length(v->length, &h->length)) {
        *why = "Content-Length is not a number";
        return 400;
    }
    if (v->transfer.data) {
        *why = "only Transfer-Encoding: chunked is understood";
        if (h->minor == 0) return 400;
        if (!sv_same_word(v->transfer, "chunked")) return 501;
        h->chunked = true;
    }
    if (v->encoding.data && !sv_same_word(v->encoding, "identity")) {
        *why = "the body is compressed; send it as it is";
        return 415;
    }
    if (v->expect.data && h->minor > 0) {
        *why = "Expect: only 100-continue is understood";
        if (!sv_same_word(v->expect, "100-continue")) return 417;
        h->expects_continue = true;
    }
    h->keep_alive = h->minor > 0 ? !sv_list_has(v->connection, "close")
                                 : sv_list_has(v->connection, "keep-alive");
    *why = "Host is missing";
    return h->minor > 0 && !h->host.data ? 400 : 0;
}

int sv_head_parse(char *data, size_t len, sv_head *out, const char **why) {
    *out = (sv_head){0};
    head_values v = {0};
    size_t at = 0, n_lines = 0;
    while (len - at >= 2 && data[at] == '\r') at += 2; /* empty lines before a request */
    while (at + 2 <= len) {
        char *end = memchr(data + at, '\r', len - at);
        *why = "a line does not end in CR LF";
        if (!end || end + 1 >= data + len || end[1] != '\n') return 400;
        size_t line = (size_t)(end - data) - at;
        if (line == 0) break;
        if (n_lines++ == 0) {
            int bad = take_request_line(data + at, line, out, why);
            if (bad) return bad;
            v.target_host = out->host.data != NULL;
        } else {
            *why = take_header((bk_str){data + at, line}, out, &v);
            if (*why) return 400;
        }
        *why = "too many headers";
        if (n_lines > SV_HEADERS_MOST + 1) return 431;
        at += line + 2;
    }
    *why = "the request is empty";
    return n_lines == 0 ? 400 : take_framing(out, &v, why);
}

/* ---- Chunked bodies ----------------------------------------------------------------------------- */

enum chunk_state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    TRAILER_LINE,
    TRAILER_LF,
    LAST_LF
};

/* One byte that is no data; false when it may not stand there. */
static bool chunk_step(sv_chunks *c, char byte) {
    int digit = hex_digit(byte);
    switch (c->state) {
    case SIZE:
        if (digit >= 0) {
            c->left = c->left * 16 + (uint64_t)digit;
            return ++c->digits <= 12;
        }
        if (c->digits == 0) return false;
        c->state = byte == '\r' ? SIZE_LF : EXTENSION;
        return byte == '\r' || byte == ';' || byte == ' ' || byte == '\t';
    case EXTENSION:
        if (byte == '\r') c->state = SIZE_LF;
        return byte != '\n' && byte != '\0' && ++c->extra <= SV_TRAILER_MOST;
    case SIZE_LF:
        c->digits = 0;
        c->state = c->left > 0 ? DATA : TRAILER;
        return byte == '\n';
    case DATA_CR: c->state = DATA_LF; return byte == '\r';
    case DATA_LF: c->state = SIZE; return byte == '\n';
    case TRAILER: c->state = byte == '\r' ? LAST_LF : TRAILER_LINE; return byte != '\n';
    case TRAILER_LINE:
        if (byte == '\r') c->state = TRAILER_LF;
        return byte != '\n' && byte != '\0' && ++c->extra <= SV_TRAILER_MOST;
    case TRAILER_LF: c->state = TRAILER; return byte == '\n';
    default: return byte == '\n';
    }
}

sv_chunks_result sv_chunks_feed(sv_chunks *c, const char *data, size_t len, bk_buf *out,
                                size_t *used) {
    size_t at = 0;
    while (at < len) {
        if (c->state == DATA) {
            size_t n = c->left < len - at ? (size_t)c->left : len - at;
            bk_buf_append(out, data + at, n);
            at += n;
            c->left -= n;
            if (c->left == 0) c->state = DATA_CR;
            continue;
        }
        bool last = c->state == LAST_LF;
        if (!chunk_step(c, data[at++])) {
            *used = at;
            return SV_CHUNKS_BAD;
        }
        if (!last) continue;
        *used = at;
        return SV_CHUNKS_DONE;
    }
    *used = at;
    return SV_CHUNKS_MORE;
}
