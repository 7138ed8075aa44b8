/* SHA-256 of files, and notes that a file has been checked. */
#ifndef BRISK_CLI_CHECKED_H
#define BRISK_CLI_CHECKED_H

#include "base/base.h"

enum { CHECKED_SHA_CAP = 65 };

/* Whether the file has this size and SHA-256 (64 small hexadecimal digits); why[cap] says what is
 * wrong. Reads it all, with the program sha256sum. */
bool checked_file(const char *path, uint64_t size, const char *sha256, char *why, size_t cap);

/* A note beside the file (FILE.checked) says that this size and time were checked against this sum, so
 * that a second run need not read it all again. Not being able to write one only costs time. */
bool checked_before(const char *path, const char *sha256);
void checked_note(const char *path, const char *sha256);

#endif
