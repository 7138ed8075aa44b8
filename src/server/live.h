/* The requests that are being answered: which engine request belongs to which HTTP request, and what
 * happens to them when a client leaves, reads too slowly, waits too long, or the server ends. */
#ifndef BRISK_SERVER_LIVE_H
#define BRISK_SERVER_LIVE_H

#include "server/request.h"
#include "server/state.h"

typedef struct sv_job sv_job;

/* One request to the engine. Its owner may be gone while the engine still knows it. */
typedef struct sv_choice {
    sv_job *job;
    uint64_t engine_id;
    unsigned index; /* among the answer's */
    bool started, decoding, done;
    bool calls;        /* the answer ended with calls of functions; its route says so */
    uint64_t token_ns; /* when its latest token came */
    size_t computed;
    brisk_request_stats stats; /* complete when done */
    brisk_finish finish;
    bk_buf stop; /* the stop text that ended it */
    brisk_token stop_token;
} sv_choice;

/* How a route answers. */
typedef struct sv_job_kind {
    const char *prefix;                                           /* of ids: "chatcmpl-" */
    const char *route;                                            /* "chat" */
    bool (*event)(sv_job *j, sv_choice *c, const brisk_event *e); /* false: the answer is gone */
    /* Submits the choices and begins the stream; false with the problem. */
    bool (*submit)(sv_job *j, sv_problem *p);
    void (*finish)(sv_job *j); /* all choices are done: reply, or end the stream */
    void (*destroy)(sv_job *j);
} sv_job_kind;

enum { SV_JOB_ID_CAP = 48 };

struct sv_job {
    sv_server *s;
    sv_exchange *x; /* NULL once its client is gone */
    const sv_job_kind *kind;
    sv_job *prev, *next;
    char id[SV_JOB_ID_CAP];
    int64_t created;
    sv_choice **choices; /* owned by the route's own structures */
    size_t n_choices, n_open;
    size_t n_prompt;      /* tokens of all prompts */
    size_t per_prompt;    /* choices that share one, at least 1 */
    bk_str salt;          /* of the request */
    uint64_t tenant;      /* of the engine */
    uint64_t cache_space; /* of the engine; 0: the tenant's */
    uint64_t began_ns, wrote_ns;
};

typedef struct sv_live sv_live;

sv_live *sv_live_create(void);
void sv_live_destroy(sv_live **live);

/* The body of x, read and checked, its prediction as tokens; false with the problem. Freed by the caller
 * in either case. */
bool sv_read_request(const sv_server *s, sv_exchange *x, sv_request_kind kind, sv_request *r,
                     sv_problem *p);

/* Gives prompts that are texts their tokens too, and checks that each fits; param is the field's name.
 * False with the problem. */
bool sv_prompts_tokenize(const sv_server *s, const char *param, bool parse_special,
                         bk_arena *memory, const sv_prompt **prompts, size_t n, sv_problem *p);

/* What the engine is asked, but for the prompt; texts and arrays are r's. Without a seed a random one
 * is taken. */
void sv_engine_request(const sv_request *r, brisk_request *e);

/* All of a request that can be done beside the loop is done: starts the job, or leaves it in x's draft,
 * for the loop to start. r may be NULL. */
void sv_job_ready(sv_job *j, sv_server *s, sv_exchange *x, const sv_job_kind *kind,
                  const sv_request *r);

/* Makes the job known and x its exchange, and submits it. */
void sv_job_start(sv_job *j, sv_exchange *x);

/* Submits choice c; tag and tenant are set here. False with the problem. */
bool sv_job_submit(sv_job *j, sv_choice *c, brisk_request *r, sv_problem *p);

/* The same for choices first to first + n, each with a seed of its own. */
bool sv_job_submit_choices(sv_job *j, size_t first, size_t n, brisk_request *r, sv_problem *p);

/* Ends it with a problem: as the reply, or as the stream's last event. Its engine requests are
 * cancelled. The answer is gone then. */
void sv_job_fail(sv_job *j, const sv_problem *p);

/* The reply is out: forgets the answer. */
void sv_job_end(sv_job *j);

/* Writes to its stream. A client that reads too slowly loses its connection: false, the answer is gone
 * then. */
bool sv_job_write(sv_job *j, const bk_buf *data);

/* Takes what the engine has. */
void sv_live_poll(sv_server *s);

/* Pings and time limits, a few times a second. */
void sv_live_tick(sv_server *s, uint64_t now);

/* Ends all with this problem. */
void sv_live_fail_all(sv_server *s, const sv_problem *p);

typedef struct sv_live_counts {
    unsigned answers, engine; /* HTTP requests; engine requests, those being cancelled included */
} sv_live_counts;
sv_live_counts sv_live_get_counts(const sv_live *live);

#endif
