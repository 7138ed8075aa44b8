/* What the parts of the server share: its state, problems as replies, the routes' functions. */
#ifndef BRISK_SERVER_STATE_H
#define BRISK_SERVER_STATE_H

#include "base/json_read.h"
#include "base/json_write.h"
#include "server/auth.h"
#include "server/conn.h"
#include "server/fields.h"
#include "server/metrics.h"
#include "server/server.h"

typedef enum sv_phase { SV_LOADING, SV_READY, SV_DRAINING } sv_phase;

typedef struct sv_server {
    const sv_options *o;
    struct event_base *base;
    sv_http *http;
    sv_auth *auth;
    sv_phase phase;
    int port, status; /* status: of the exit */
    bool tls;
    sv_metrics metrics;

    /* From READY on. */
    brisk_model *model;
    brisk_model_info info;
    brisk_engine *engine;
    const char *name, *chat_template;
    int64_t created; /* when the model was there, seconds since 1970 */
    struct sv_live *live;
    struct sv_work *work;
} sv_server;

/* ---- Problems (problem.c) ----------------------------------------------------------------------- */

/* Why a request is not answered as asked. status 0: no problem. */
typedef struct sv_problem {
    int status;
    const char *type, *code; /* constant texts; code may be NULL */
    char param[96];          /* the field, or "" */
    char text[640];
    double retry_s;             /* above 0: when to come again */
    size_t n_prompt, n_context; /* of context_length_exceeded */
} sv_problem;

/* Fills it; returns false, for `return sv_problem_set(...)`. The type comes from the status. */
bool sv_problem_set(sv_problem *p, int status, const char *code, const char *param, const char *fmt,
                    ...) BK_PRINTF(5, 6);

/* What a failed call of the library means to a client. */
bool sv_problem_from(sv_problem *p, const brisk_error *err, const char *param);

/* A field that is not as it should be. */
bool sv_problem_field(sv_problem *p, const sv_field_error *err);

/* {"error": {...}} */
void sv_problem_write(bk_buf *out, const sv_problem *p);
void sv_reply_problem(sv_exchange *x, const sv_problem *p);

/* Replies with JSON text; frees out. 503 when memory was short. */
void sv_reply_json(sv_exchange *x, int status, bk_buf *out);

/* The body as a JSON object; NULL after replying what is wrong with it. */
json_t *sv_body_object(sv_exchange *x);

/* Most tokens of one sequence. */
int sv_context(const sv_server *s);

/* ---- Tokens ------------------------------------------------------------------------------------- */

typedef struct sv_tokens {
    brisk_token *v; /* freed with bk_free */
    size_t n;
} sv_tokens;

/* Ids of a text as brisk_tokenize makes them; false with the problem. */
bool sv_tokenize(const sv_server *s, bk_str text, bool add_bos, bool parse_special, sv_tokens *out,
                 sv_problem *p);

/* An array of token ids; false with the problem, which names param. */
bool sv_token_array(const sv_server *s, const json_t *array, const char *param, sv_tokens *out,
                    sv_problem *p);

/* Whether a prompt of n tokens leaves room for an answer; false with the problem. */
bool sv_check_prompt(const sv_server *s, size_t n, const char *param, sv_problem *p);

/* ---- Routes ------------------------------------------------------------------------------------- */

typedef void sv_handler(sv_server *s, sv_exchange *x);

sv_handler sv_get_health, sv_get_models, sv_get_props, sv_get_version, sv_get_metrics, sv_get_asset;
sv_handler sv_get_tokenizer_info, sv_post_tokenize, sv_post_detokenize, sv_post_apply_template,
    sv_post_input_tokens;
sv_handler sv_post_chat, sv_post_completions, sv_post_embeddings;
sv_handler sv_get_requests, sv_post_cancel;

/* What conn.h calls (routes.c). */
bool sv_on_head(void *user, sv_exchange *x);
void sv_on_request(void *user, sv_exchange *x);
void sv_on_refuse(void *user, sv_exchange *x, int status, const char *why);

/* ---- Log (log.c) -------------------------------------------------------------------------------- */

/* "brisk: ..." on stderr, made printable. */
void sv_log(const char *fmt, ...) BK_PRINTF(1, 2);

/* A line when a request has ended. */
void sv_log_exchange(const sv_server *s, const sv_exchange *x, bool whole);

/* Where the server listens, before the model is there; the table when it is. */
void sv_log_listening(const sv_server *s);
void sv_log_start(const sv_server *s);

#endif
