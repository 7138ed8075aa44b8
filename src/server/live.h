/* The requests that are being answered: which engine request belongs to which HTTP request, and what
 * happens to them when a client leaves, reads too slowly, waits too long, or the server ends. */
#ifndef BRISK_SERVER_LIVE_H
#define BRISK_SERVER_LIVE_H

#include "server/state.h"

typedef struct sv_answer sv_answer;

/* One request to the engine. Its owner may be gone while the engine still knows it. */
typedef struct sv_choice {
    sv_answer *answer;
    uint64_t engine_id;
    unsigned index; /* among the answer's */
    bool started, decoding, done;
    size_t computed;
    brisk_request_stats stats; /* complete when done */
    brisk_finish finish;
    bk_buf stop; /* the stop text that ended it */
    brisk_token stop_token;
} sv_choice;

/* How a route answers. */
typedef struct sv_answer_kind {
    const char *prefix; /* of ids: "chatcmpl-" */
    const char *route;  /* "chat" */
    bool (*event)(sv_answer *a, sv_choice *c, const brisk_event *e); /* false: the answer is gone */
    void (*finish)(sv_answer *a); /* all choices are done: reply, or end the stream */
    void (*destroy)(sv_answer *a);
} sv_answer_kind;

enum { SV_ANSWER_ID_CAP = 48, SV_CHOICES_MOST = 4096 };

struct sv_answer {
    sv_server *s;
    sv_exchange *x; /* NULL once its client is gone */
    const sv_answer_kind *kind;
    sv_answer *prev, *next;
    char id[SV_ANSWER_ID_CAP];
    int64_t created;
    sv_choice **choices; /* owned by the route's own structures */
    size_t n_choices, n_open;
    size_t n_prompt;   /* tokens of all prompts */
    size_t per_prompt; /* choices that share one, at least 1 */
    uint64_t began_ns, wrote_ns;
};

typedef struct sv_live sv_live;

sv_live *sv_live_create(void);
void sv_live_destroy(sv_live **live);

/* Makes the answer known and x its exchange; then its choices are submitted. */
void sv_answer_begin(sv_answer *a, sv_server *s, sv_exchange *x, const sv_answer_kind *kind);

/* Submits choice c; tag and tenant are set here. False with the problem. */
bool sv_answer_submit(sv_answer *a, sv_choice *c, brisk_request *r, sv_problem *p);

/* Ends it with a problem: as the reply, or as the stream's last event. Its engine requests are
 * cancelled. The answer is gone then. */
void sv_answer_fail(sv_answer *a, const sv_problem *p);

/* The reply is out: forgets the answer. */
void sv_answer_end(sv_answer *a);

/* Writes to its stream. A client that reads too slowly loses its connection: false, the answer is gone
 * then. */
bool sv_answer_write(sv_answer *a, const bk_buf *data);

/* The client has left (conn.h). */
void sv_on_left(void *user, sv_exchange *x);

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
