/* What names of models and their files say: repository, quantisation, parts of a split model. */
#ifndef BRISK_CLI_NAMES_H
#define BRISK_CLI_NAMES_H

#include "base/str.h"

enum { NAME_PART_MOST = 99999 };

/* "FILE-00002-of-00003.gguf": its part (from 1) of how many, and the length of FILE. False, with
 * nothing written, for any other name. */
bool name_split(const char *file, unsigned *part, unsigned *of, size_t *stem);

/* Writes the name of another part of the same model to out[cap]; false when it does not fit. */
bool name_of_part(const char *file, unsigned part, char *out, size_t cap);

bool name_ends(const char *text, const char *end); /* whatever the case */
bool name_same(bk_str a, bk_str b);                /* whatever the case */

/* The last component of a path. */
const char *name_base(const char *path);

/* The file's name without folders, ".gguf" and the number of its part. */
bk_str name_stem(const char *path);

/* The quantisation that a file's name tells, in capitals ("Q4_K_M", "BF16"), into out[cap]; "" when it
 * tells none. *at (may be NULL) gets where in the stem it stands. */
void name_quant(bk_str stem, char *out, size_t cap, size_t *at);

/* Whether a tag as in user/repo:TAG means the file with this stem: its quantisation, or how the stem
 * ends, or all of it. */
bool name_has_tag(bk_str stem, bk_str tag);

/* A side file of a model, such as the image encoder of one that sees ("mmproj-..."). */
bool name_is_side(const char *path);

/* "user/repo" or "user/repo:tag" (with `:` in the tag taken as it is): false when a part is empty or
 * has characters that such names do not have. tag is empty where there is none. */
bool name_repo(const char *text, bk_str *repo, bk_str *tag);

/* A relative path that stays inside its folder: no empty, "." or ".." component, no control bytes. */
bool name_is_inside(const char *path);

#endif
