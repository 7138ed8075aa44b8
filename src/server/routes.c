/* From a request to the function that answers it, past the checks that all of them share. */
#include "server/work.h"

enum {
    OPEN = 1,   /* no key needed */
    ALWAYS = 2, /* also while the model loads and while the server drains */
    WORK = 4,   /* not while the server drains */
    BODY = 8    /* a JSON body */
};

typedef struct route {
    const char *path; /* ending in "/" or "*": all below */
    sv_method method;
    unsigned flags;
    sv_handler *handler;
} route;

static const route routes[] = {
    {"/health", SV_GET, OPEN | ALWAYS, sv_get_health},
    {"/v1/health", SV_GET, OPEN | ALWAYS, sv_get_health},
    {"/ping", SV_GET, OPEN | ALWAYS, sv_get_health},
    {"/v1/models", SV_GET, 0, sv_get_models},
    {"/v1/models/*", SV_GET, 0, sv_get_models},
    {"/v1/chat/completions", SV_POST, WORK | BODY, sv_post_chat},
    {"/v1/completions", SV_POST, WORK | BODY, sv_post_completions},
    {"/v1/embeddings", SV_POST, WORK | BODY, sv_post_embeddings},
    {"/v1/chat/completions/input_tokens", SV_POST, BODY, sv_post_input_tokens},
    {"/tokenize", SV_POST, BODY, sv_post_tokenize},
    {"/detokenize", SV_POST, BODY, sv_post_detokenize},
    {"/tokenizer_info", SV_GET, 0, sv_get_tokenizer_info},
    {"/apply-template", SV_POST, BODY, sv_post_apply_template},
    {"/v1/requests", SV_GET, 0, sv_get_requests},
    {"/v1/requests/*", SV_POST, 0, sv_post_cancel},
    {"/props", SV_GET, 0, sv_get_props},
    {"/version", SV_GET, ALWAYS, sv_get_version},
    {"/metrics", SV_GET, 0, sv_get_metrics},
    {"/*", SV_GET, OPEN | ALWAYS, sv_get_asset},
};

static bool matches(const route *r, bk_str path) {
    size_t n = strlen(r->path);
    if (r->path[n - 1] != '*') return bk_str_eq(path, (bk_str){r->path, n});
    return bk_str_starts(path, (bk_str){r->path, n - 1});
}

/* The route of path and method; else NULL with the methods that the path has. */
static const route *find_route(bk_str path, sv_method method, unsigned *allowed) {
    *allowed = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(routes); i++) {
        const route *r = &routes[i];
        if (!matches(r, path)) continue;
        /* The page has what nobody else has, and only to be read. */
        if (r->handler == sv_get_asset && (*allowed || !(method & (SV_GET | SV_HEAD)))) break;
        *allowed |= r->method | (r->method == SV_GET ? SV_HEAD : 0);
        if (*allowed & method) return r;
    }
    return NULL;
}

static void allow_origin(sv_exchange *x) {
    sv_add_header(x, "Access-Control-Allow-Origin", BK_STR_FMT, BK_STR_ARG(x->head.origin));
    sv_add_header(x, "Vary", "Origin");
    sv_add_header(x, "Access-Control-Expose-Headers", "x-request-id, retry-after, retry-after-ms");
}

/* A browser asks whether a page of another origin may ask. */
static void reply_preflight(sv_exchange *x) {
    sv_add_header(x, "Access-Control-Allow-Methods", "GET, POST");
    if (x->head.asked_headers.len > 0 && x->head.asked_headers.len < 400)
        sv_add_header(x, "Access-Control-Allow-Headers", "%.*s", (int)x->head.asked_headers.len,
                      x->head.asked_headers.data);
    sv_add_header(x, "Access-Control-Max-Age", "600");
    sv_reply(x, 204, NULL, NULL, 0);
}

/* Whether the request may go on as far as browsers are concerned; false with the problem. */
static bool check_browser(const sv_server *s, sv_exchange *x, sv_problem *p) {
    if (!sv_auth_host(s->auth, &x->head))
        return sv_problem_set(p, 403, "host_not_allowed", NULL,
                              "this server listens on this machine only; Host: " BK_STR_FMT
                              " is not a name of it",
                              BK_STR_ARG(x->head.host));
    sv_origin origin = sv_auth_origin(s->auth, &x->head);
    if (origin == SV_ORIGIN_ALLOWED) allow_origin(x);
    if (origin == SV_ORIGIN_FOREIGN)
        return sv_problem_set(p, 403, "origin_not_allowed", NULL,
                              "pages of other origins may not ask; --cors-origins allows them");
    return true;
}

static bool no_route(sv_exchange *x, unsigned allowed, sv_problem *p) {
    if (!allowed)
        return sv_problem_set(p, 404, "unknown_url", NULL, "there is no " BK_STR_FMT,
                              BK_STR_ARG(x->head.path));
    sv_add_header(x, "Allow", "%s",
                  allowed & SV_POST ? (allowed & SV_GET ? "GET, HEAD, POST" : "POST")
                                    : "GET, HEAD");
    return sv_problem_set(p, 405, "method_not_allowed", NULL, BK_STR_FMT " is not for " BK_STR_FMT,
                          BK_STR_ARG(x->head.method_name), BK_STR_ARG(x->head.path));
}

static bool check_phase(const sv_server *s, const route *r, sv_problem *p) {
    if (s->phase == SV_LOADING && !(r->flags & ALWAYS)) {
        sv_problem_set(p, 503, "loading", NULL, "the model is being loaded");
        p->retry_s = 1;
        return false;
    }
    if (s->phase == SV_DRAINING && (r->flags & WORK)) {
        sv_problem_set(p, 503, "draining", NULL, "the server is about to end");
        p->retry_s = 5;
        return false;
    }
    return true;
}

static bool is_json(bk_str type) {
    const char *semicolon = type.len ? memchr(type.data, ';', type.len) : NULL;
    if (semicolon) type.len = (size_t)(semicolon - type.data);
    while (type.len > 0 && type.data[type.len - 1] == ' ') type.len--;
    return sv_same_word(type, "application/json");
}

static bool check(sv_server *s, sv_exchange *x, sv_problem *p) {
    unsigned allowed;
    if (!check_browser(s, x, p)) return false;
    const route *r = find_route(x->head.path, x->head.method, &allowed);
    bool known = sv_auth_key(s->auth, &x->head, &x->tenant);
    if (!known && !(r && (r->flags & OPEN)))
        return sv_problem_set(p, 401, "invalid_api_key", NULL,
                              "a valid API key is needed: Authorization: Bearer KEY");
    if (!r) return no_route(x, allowed, p);
    /* A form of a foreign page cannot send this type. */
    if ((r->flags & BODY) && !is_json(x->head.content_type))
        return sv_problem_set(p, 415, "unsupported_media_type", NULL,
                              "the body's type is '" BK_STR_FMT "', wanted Content-Type: "
                              "application/json",
                              BK_STR_ARG(x->head.content_type));
    if (!check_phase(s, r, p)) return false;
    x->route = r;
    return true;
}

bool sv_on_head(void *user, sv_exchange *x) {
    sv_server *s = user;
    sv_problem p;
    if (x->head.method == SV_OPTIONS && x->head.asked_method.data &&
        sv_auth_host(s->auth, &x->head) && sv_auth_origin(s->auth, &x->head) == SV_ORIGIN_ALLOWED) {
        allow_origin(x);
        reply_preflight(x);
        return false;
    }
    if (check(s, x, &p)) return true;
    sv_reply_problem(x, &p);
    return false;
}

void sv_on_request(void *user, sv_exchange *x) {
    const route *r = x->route;
    sv_server *s = user;
    bool large = (r->flags & BODY) && x->body.len > SV_WORK_BYTES;
    if (!large || !sv_work_add(s->work, x, r->handler)) r->handler(s, x);
}

void sv_on_refuse(void *user, sv_exchange *x, int status, const char *why) {
    (void)user;
    sv_problem p;
    sv_problem_set(&p, status, NULL, NULL, "%s", why);
    if (status == 503) p.retry_s = 1;
    sv_reply_problem(x, &p);
}
