/* Files: read-only maps and reads whose errors name the path. */
#ifndef BRISK_SYS_FILE_H
#define BRISK_SYS_FILE_H

#include "base/buf.h"
#include "base/error.h"

typedef struct bk_map {
    const uint8_t *data; /* page-aligned; NULL for an empty file */
    size_t size;
    int fd;
} bk_map;

/* Maps a regular file read-only. NOT_FOUND, IO; FORMAT for an empty file or a directory. */
bk_status bk_map_open(const char *path, bk_map *out, bk_error *err);
void bk_map_close(bk_map *m);

/* Reading a page that a shrunken file no longer has ends the process (SIGBUS), so a loader asks
 * before it reads each part. IO when the file is now shorter than it was when mapped. */
bk_status bk_map_check_unchanged(const bk_map *m, bk_error *err);

/* Tells the kernel that the range will not be read again (its pages leave this process's memory). */
void bk_map_drop(const bk_map *m, size_t offset, size_t bytes);

/* The whole file into buf, which keeps its limit (LIMIT when larger). "-" is standard input. */
bk_status bk_file_read(const char *path, bk_buf *buf, bk_error *err);

/* Writes a temporary file beside path, syncs, renames over path: readers see the old or the new
 * file, never a part. */
bk_status bk_file_write_atomic(const char *path, const void *data, size_t len, bk_error *err);

/* The same in pieces: after begin any number of puts, then commit or abandon, which both leave *w
 * empty. Abandoning an empty writer, or a zero-initialised one, does nothing. */
typedef struct bk_file_writer {
    int fd;
    char *path, *tmp; /* owned; tmp is the file being written */
} bk_file_writer;

bk_status bk_file_begin(const char *path, bk_file_writer *out, bk_error *err);
bk_status bk_file_put(bk_file_writer *w, const void *data, size_t len, bk_error *err);
bk_status bk_file_commit(bk_file_writer *w, bk_error *err);
void bk_file_abandon(bk_file_writer *w);

/* The user's cache folder for brisk ($BRISK_CACHE, $XDG_CACHE_HOME/brisk, ~/.cache/brisk), made
 * when missing. */
bk_status bk_cache_dir(char *out, size_t cap, bk_error *err);

#endif
