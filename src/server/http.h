/* HTTP/1.1 messages as bytes: the head of a request and chunked bodies (RFC 9112). Strict where two
 * readers could disagree about where a request ends: what is in doubt is refused.
 *
 * No input or output here: conn.h has the connections. */
#ifndef BRISK_SERVER_HTTP_H
#define BRISK_SERVER_HTTP_H

#include "base/buf.h"

enum {
    SV_HEAD_MOST = 16384,  /* bytes of a request line and its headers */
    SV_HEADERS_MOST = 100, /* lines */
    SV_TRAILER_MOST = 4096 /* bytes of chunk extensions and trailers */
};

typedef enum sv_method {
    SV_GET = 1,
    SV_HEAD = 2,
    SV_POST = 4,
    SV_OPTIONS = 8,
    SV_OTHER_METHOD = 16 /* known to HTTP, used by no route */
} sv_method;

/* Views into the block that was parsed; absent ones have data NULL. */
typedef struct sv_head {
    sv_method method;
    bk_str method_name, path, query; /* path: percent signs decoded, begins with "/" */
    int minor;                       /* of the version: 0 or 1 */
    bool keep_alive, chunked, expects_continue;
    uint64_t length; /* Content-Length, 0 without */
    bk_str host, authorization, api_key, origin, content_type, request_id, accept_encoding,
        if_none_match, asked_method, asked_headers; /* asked: Access-Control-Request-... */
} sv_head;

/* Length of the head at the start of data, its empty line included; 0 when more is needed. A status
 * (400, 414, 431) in *refused when it cannot become one. */
size_t sv_head_find(const char *data, size_t len, int *refused);

/* Parses a whole head (it is changed: the path is decoded in place). 0, or the status to answer with a
 * reason in *why. */
int sv_head_parse(char *data, size_t len, sv_head *out, const char **why);

/* A chunked body on its way in; zero-initialised at the start. */
typedef struct sv_chunks {
    int state;
    uint64_t left; /* of the present chunk */
    size_t digits, extra;
} sv_chunks;

typedef enum sv_chunks_result { SV_CHUNKS_MORE, SV_CHUNKS_DONE, SV_CHUNKS_BAD } sv_chunks_result;

/* Takes bytes, appends what they carry to out (whose limit is the caller's to watch: out->failed); *used
 * is how many belong to this body. */
sv_chunks_result sv_chunks_feed(sv_chunks *c, const char *data, size_t len, bk_buf *out,
                                size_t *used);

/* "Not Found"; "" for a status without a name here. */
const char *sv_status_name(int status);

/* Whether two texts are equal but for the case of ASCII letters. */
bool sv_same_word(bk_str a, const char *z);

/* Whether a list "a, b;q=1" has this word as an element. */
bool sv_list_has(bk_str list, const char *word);

#endif
