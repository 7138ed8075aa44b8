/* What chat.c (requests) and chat_reply.c (replies) share. */
#ifndef BRISK_SERVER_CHAT_H
#define BRISK_SERVER_CHAT_H

#include "server/answer.h"
#include "server/reply_json.h"

typedef struct chat chat;

typedef struct chat_call {
    char id[SV_CALL_ID_CAP];
    bk_buf name, arguments;
} chat_call;

typedef struct chat_choice {
    sv_choice base; /* first: live.h hands this on */
    chat *chat;
    sv_answer split;          /* content, reasoning, calls */
    bool role_sent, reasoned; /* reasoned: the present token's text was reasoning */
    size_t reasoning_tokens;
    bk_buf logprobs;           /* elements of logprobs.content; of a stream those not yet sent */
    bk_buf content, reasoning; /* of a whole reply */
    chat_call *calls;
    size_t n_calls;
} chat_choice;

struct chat {
    sv_job base;
    sv_style style;
    sv_request request; /* the splitter borrows the tools */
    sv_tokens prompt;   /* until it is submitted */
    bool one_call;      /* only the first call of a choice is passed on */
    chat_choice *choices;
    sv_choice **list; /* the same, for base */
    bk_buf out;       /* events of the stream that go out with the next write */
    bool failed;      /* memory was short */
};

/* A splitter's piece (answer.h); user is the chat_choice. */
void chat_on_piece(const sv_answer_piece *piece, void *user);

/* sv_job_kind */
bool chat_on_event(sv_job *j, sv_choice *c, const brisk_event *e);
void chat_on_finish(sv_job *j);

#endif
