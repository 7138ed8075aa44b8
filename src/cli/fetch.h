/* Fetching files over HTTP: resumed where a run was broken off, checked before they get their name. */
#ifndef BRISK_CLI_FETCH_H
#define BRISK_CLI_FETCH_H

#include "base/base.h"
#include "cli/checked.h"

typedef struct fetch_options {
    bool force; /* fetch again what is there */
    bool keep;  /* take what is there as it is, without asking the server */
    bool quiet; /* no messages but errors */
} fetch_options;

bool fetch_is_url(const char *text);

/* A URL into the cache folder; user/repo[:quantisation] from the hub ($HF_ENDPOINT, $HF_TOKEN). All
 * files of it; path[cap] gets the first, or a folder of safetensors. Returns the exit status: 0,
 * EXIT_ERROR after printing why, EXIT_INTERRUPTED after saying how to go on. */
int fetch_url(const char *url, char *path, size_t cap, const fetch_options *o);
int fetch_hub(const char *repo, char *path, size_t cap, const fetch_options *o);

/* ---- Between the two and the transfer ----------------------------------------------------------- */

typedef struct fetch_file {
    const char *url, *target;     /* target: the whole path */
    uint64_t size;                /* 0: unknown */
    char sha256[CHECKED_SHA_CAP]; /* "": unknown; then a GGUF file's header is what is checked */
} fetch_file;

typedef struct fetch_access {
    const char *token, *origin; /* the token goes to this origin only; NULL: none */
} fetch_access;

/* Fetches files one after another with one progress bar. Returns the exit status. */
int fetch_files(const fetch_file *files, size_t n, const fetch_access *access,
                const fetch_options *o);

/* After a failure: whether trying again may help, and the wait before it, longer each time or as long as
 * the server asks (0: it does not). False on Ctrl-C. */
enum { FETCH_TRIES_AT_FIRST = 3 }; /* while nothing has come */
bool fetch_worth_retrying(int status);
bool fetch_pause(int tries, int retry_after, const char *why, const fetch_options *o);

/* What a status other than 200 and 206 means to a person. */
const char *fetch_status_text(int status, const fetch_access *access);

#endif
