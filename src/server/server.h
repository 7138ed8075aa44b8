/* The server: one model, many users, over HTTP. */
#ifndef BRISK_SERVER_SERVER_H
#define BRISK_SERVER_SERVER_H

#include "base/buf.h"
#include "brisk_engine.h"

typedef struct sv_options {
    brisk_engine_options engine;
    const char *host; /* to listen at */
    int port;         /* 0: any free one */
    bool insecure;    /* allow others than this machine without a key */
    const char *const *api_keys;
    size_t n_api_keys;
    const char *cert, *key;   /* PEM files; both or none */
    const char *cors_origins; /* "https://a.example,https://b.example" or "*"; NULL: none */
    double ping_seconds;      /* a stream is silent for at most this long; 0: no pings */
    double timeout_seconds;   /* for a whole answer; 0: none */
    double drain_seconds;     /* for running answers when the server is told to end */
    bool no_metrics, no_ui;
    const char *metrics_compat; /* "vllm", "llamacpp" or NULL */
    const char *chat_template;  /* text in place of the model's own, or NULL */
    brisk_pooling pooling;      /* of embeddings */
    bool log_jsonl, verbose;

    /* Opens the model; called in a thread of its own while the server already answers /health. *name
     * is what clients call it, living as long as the server. False after printing why not. */
    bool (*load)(void *user, brisk_model **model, const char **name);
    void *user;
} sv_options;

/* Serves until SIGTERM or SIGINT; the exit status. Prints on stderr. */
int sv_run(const sv_options *o);

#endif
