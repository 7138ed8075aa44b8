/* Which files of a repository on the hub make the model that is meant. */
#ifndef BRISK_CLI_HUB_H
#define BRISK_CLI_HUB_H

#include "base/mem.h"
#include "base/str.h"
#include "cli/checked.h"

enum { HUB_FILES_MOST = 10000, HUB_WHY_CAP = 480 };

typedef struct hub_file {
    const char *path; /* in the repository */
    uint64_t size;
    char sha256[CHECKED_SHA_CAP]; /* "" where the hub does not tell */
} hub_file;

typedef struct hub_listing {
    hub_file *files; /* in the arena, as is all text */
    size_t n;
    bk_arena arena;
} hub_listing;

/* Reads what the hub answers about a repository: {"siblings": [{"rfilename", "size", "lfs":
 * {"sha256"}}]}. Files with paths that would leave their folder are left out. False, with why in
 * why[HUB_WHY_CAP]. Free with hub_free in either case. */
bool hub_parse(bk_str json, hub_listing *out, char *why);
void hub_free(hub_listing *l);

/* Puts the files to fetch first, in order, and returns how many: the GGUF file with this quantisation
 * (all parts of it); without a tag Q4_K_M, Q8_0 or the only one; where there is no GGUF file, what
 * makes a folder of safetensors. 0 with why in why[HUB_WHY_CAP], which lists what there is. */
size_t hub_choose(hub_listing *l, bk_str tag, char *why);

#endif
