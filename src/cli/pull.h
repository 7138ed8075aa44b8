/* Taking a file out of a package (a zip file). */
#ifndef BRISK_CLI_PULL_H
#define BRISK_CLI_PULL_H

#include "base/base.h"

#if BRISK_HAVE_ARCHIVE
/* Writes the member of the archive to the new file `out`. False, with why in why[cap], when it is not
 * there, is not exactly `size` bytes or cannot be written. */
bool pull_extract(const char *archive, const char *member, uint64_t size, const char *out,
                  char *why, size_t cap);
#endif

#endif
