#include "cli/checked.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/spawn.h"

enum { PATH_CAP = 4096 };

static bool small_file(const char *path, char *out, size_t cap) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    fclose(f);
    return true;
}

bool checked_file(const char *path, uint64_t size, const char *sha256, char *why, size_t cap) {
    struct stat st;
    char sum_path[PATH_CAP + 32], sum[80] = "";
    if (stat(path, &st) != 0 || (uint64_t)st.st_size != size) {
        snprintf(why, cap, "it does not have the %llu bytes expected", (unsigned long long)size);
        return false;
    }
    snprintf(sum_path, sizeof sum_path, "%s.sum-%ld", path, (long)getpid());
    const char *const argv[] = {"sha256sum", "--", path, NULL};
    int status = spawn_run(&(spawn){.argv = argv, .output = sum_path});
    bool read = status == 0 && small_file(sum_path, sum, sizeof sum);
    unlink(sum_path);
    if (!read) {
        snprintf(why, cap, "sha256sum could not be run on it");
        return false;
    }
    if (strncmp(sum, sha256, 64) == 0) return true;
    snprintf(why, cap, "its SHA-256 is %.64s, %s was expected", sum, sha256);
    return false;
}

static void note_text(const struct stat *st, const char *sha256, char *out, size_t cap) {
    snprintf(out, cap, "%s %lld %lld\n", sha256, (long long)st->st_size, (long long)st->st_mtime);
}

bool checked_before(const char *path, const char *sha256) {
    struct stat st;
    char note[PATH_CAP + 16], seen[160], wanted[160];
    snprintf(note, sizeof note, "%s.checked", path);
    if (stat(path, &st) != 0 || !small_file(note, seen, sizeof seen)) return false;
    note_text(&st, sha256, wanted, sizeof wanted);
    return strcmp(seen, wanted) == 0;
}

void checked_note(const char *path, const char *sha256) {
    struct stat st;
    char note[PATH_CAP + 16], text[160];
    snprintf(note, sizeof note, "%s.checked", path);
    FILE *f = stat(path, &st) == 0 ? fopen(note, "we") : NULL;
    if (!f) return;
    note_text(&st, sha256, text, sizeof text);
    fputs(text, f);
    fclose(f);
}
