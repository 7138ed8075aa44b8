#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/pull.h"

static bool find(struct archive *a, const char *member) {
    struct archive_entry *entry;
    while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        if (name && strcmp(name, member) == 0) return true;
    }
    return false;
}

static bool copy(struct archive *a, FILE *f, uint64_t size, char *why, size_t cap) {
    char part[65536];
    uint64_t done = 0;
    for (;;) {
        la_ssize_t n = archive_read_data(a, part, sizeof part);
        if (n < 0) {
            snprintf(why, cap, "the package is damaged: %s", archive_error_string(a));
            return false;
        }
        if (n == 0) break;
        done += (uint64_t)n;
        if (done > size) break;
        if (fwrite(part, 1, (size_t)n, f) != (size_t)n) {
            snprintf(why, cap, "cannot write: %s", strerror(errno));
            return false;
        }
    }
    if (done == size) return true;
    snprintf(why, cap, "the file in the package has %s bytes than the %llu expected",
             done > size ? "more" : "fewer", (unsigned long long)size);
    return false;
}

bool pull_extract(const char *archive, const char *member, uint64_t size, const char *out,
                  char *why, size_t cap) {
    struct archive *a = archive_read_new();
    FILE *f = fopen(out, "wbe");
    bool good = false;
    if (!a || !f) {
        snprintf(why, cap, "%s: %s", out, f ? "no memory" : strerror(errno));
    } else if (archive_read_support_format_zip(a) != ARCHIVE_OK ||
               archive_read_open_filename(a, archive, 1 << 16) != ARCHIVE_OK) {
        snprintf(why, cap, "%s", archive_error_string(a));
    } else if (!find(a, member)) {
        snprintf(why, cap, "the package does not contain %s", member);
    } else {
        good = copy(a, f, size, why, cap);
    }
    if (f && fclose(f) != 0 && good) {
        snprintf(why, cap, "cannot write: %s", strerror(errno));
        good = false;
    }
    if (a) archive_read_free(a);
    return good;
}
