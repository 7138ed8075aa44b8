/* The models that are on this machine: brisk's own, and those that other programs have fetched. */
#ifndef BRISK_CLI_FIND_H
#define BRISK_CLI_FIND_H

#include "base/mem.h"
#include "base/str.h"

typedef struct found {
    const char *name;   /* what -m takes: "user/repo:Q4_K_M", "llama3.2:1b", the file's stem */
    const char *repo;   /* "user/repo", "llama3.2", or "" */
    const char *tag;    /* of ollama; otherwise "" */
    const char *stem;   /* of the file; "" for a folder */
    const char *path;   /* file (of a split model the first), or folder of safetensors */
    const char *source; /* "brisk", "huggingface", "llama.cpp", "lmstudio", "ollama" */
    uint64_t bytes;     /* of all parts */
    unsigned parts;
    bool folder, side; /* side: not a model by itself */
    const char
        *problem; /* what is wrong with it as far as looking at folders shows; NULL: nothing */
} found;

typedef struct found_list {
    found *v; /* sorted by name */
    size_t n, cap;
    bool failed; /* memory was short: some are missing */
    bk_arena arena;
} found_list;

/* Looks into all places. Free with find_free. */
void find_models(found_list *out);
void find_free(found_list *l);

/* Which of them a name means, exact or in part: user/repo[:tag], repo[:tag], ollama's name[:tag], a
 * file's name with or without .gguf or quantisation. Marks them in hit[n]; returns how many. */
size_t find_match(const found_list *l, const char *name, bool *hit);

/* The model of the repository with this tag; without a tag the one in Q4_K_M, in Q8_0, or the only one.
 * NULL when there is none, or more than one, or it is not whole. */
const found *find_in_repo(const found_list *l, const char *repo, bk_str tag);

/* ---- Places (find_places.c): each appends what it finds ----------------------------------------- */

void find_in_brisk(found_list *l);
void find_in_huggingface(found_list *l);
void find_in_llamacpp(found_list *l);
void find_in_lmstudio(found_list *l);
void find_in_ollama(found_list *l);

/* ---- Between the two ---------------------------------------------------------------------------- */

/* A copy in the list's arena; "" when memory is short. */
const char *find_text(found_list *l, const char *fmt, ...) BK_PRINTF(2, 3);
void find_add(found_list *l, const found *f);

/* A GGUF file. Of a split model every part may be given: only one makes an entry. repo "" makes the
 * stem its name. */
void find_add_file(found_list *l, const char *source, const char *repo, const char *path);
/* A folder, when it has config.json and safetensors. */
void find_add_folder(found_list *l, const char *source, const char *repo, const char *path);

/* Calls file for every regular file (links followed) below a folder and folder for every folder below
 * it, at most `depth` levels down. rel is the path from root. */
typedef struct find_walk {
    found_list *list;
    const char *root;
    int depth;
    void (*file)(struct find_walk *w, const char *path, const char *rel);
    void (*folder)(struct find_walk *w, const char *path, const char *rel); /* may be NULL */
    const void *user;
} find_walk;
void find_walk_files(find_walk *w);

#endif
