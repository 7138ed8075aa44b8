#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* A path in a message: cut, so that the reason behind it still fits. */
#define PATH_FMT "'%.300s'"

static bk_status fail_errno(bk_error *err, int code, const char *what, const char *path) {
    bk_status status = code == ENOENT || code == ENOTDIR ? BK_ERR_NOT_FOUND : BK_ERR_IO;
    return bk_fail(err, status, "cannot %s " PATH_FMT ": %s", what, path, strerror(code));
}

/* O_NONBLOCK: opening a FIFO must not wait for its writer. Without effect on regular files. */
static int open_retry(const char *path, int flags, mode_t mode) {
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* ---- Maps ----------------------------------------------------------------------------------- */

static bk_status map_fd(const char *path, int fd, bk_map *out, bk_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return fail_errno(err, errno, "examine", path);
    if (S_ISDIR(st.st_mode)) {
        return bk_fail(err, BK_ERR_FORMAT, PATH_FMT " is a directory; name the file inside it",
                       path);
    }
    if (!S_ISREG(st.st_mode)) {
        return bk_fail(err, BK_ERR_FORMAT, PATH_FMT " is not a regular file and cannot be mapped",
                       path);
    }
    if (st.st_size == 0)
        return bk_fail(err, BK_ERR_FORMAT, PATH_FMT " is empty: fetch it again", path);
    if ((uintmax_t)st.st_size > PTRDIFF_MAX) {
        return bk_fail(err, BK_ERR_LIMIT, PATH_FMT " has %jd bytes, more than can be addressed",
                       path, (intmax_t)st.st_size);
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return fail_errno(err, errno, "map", path);
    *out = (bk_map){.data = data, .size = (size_t)st.st_size, .fd = fd};
    return BK_OK;
}

bk_status bk_map_open(const char *path, bk_map *out, bk_error *err) {
    *out = (bk_map){.fd = -1};
    int fd = open_retry(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) return fail_errno(err, errno, "open", path);
    bk_status status = map_fd(path, fd, out, err);
    if (status != BK_OK) close(fd);
    return status;
}

void bk_map_close(bk_map *m) {
    if (m->data) {
        munmap((void *)m->data, m->size);
        close(m->fd);
    }
    *m = (bk_map){.fd = -1};
}

bk_status bk_map_check_unchanged(const bk_map *m, bk_error *err) {
    struct stat st;
    if (fstat(m->fd, &st) != 0) {
        return bk_fail(err, BK_ERR_IO, "cannot examine the file: %s", strerror(errno));
    }
    if ((uintmax_t)st.st_size < m->size) {
        return bk_fail(err, BK_ERR_IO, "the file shrank from %zu to %jd bytes while it was read",
                       m->size, (intmax_t)st.st_size);
    }
    return BK_OK;
}

void bk_map_drop(const bk_map *m, size_t offset, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!m->data || offset >= m->size) return;
    bytes = bk_min_size(bytes, m->size - offset);
    /* Both ends are rounded down, so that neighbours dropped in order leave no page behind. */
    size_t begin = offset / page * page, end = (offset + bytes) / page * page;
    if (offset + bytes == m->size) end = m->size;
    /* Only advice: a failure costs memory, nothing else. */
    if (end > begin) (void)madvise((void *)(m->data + begin), end - begin, MADV_DONTNEED);
}

/* ---- Whole files ---------------------------------------------------------------------------- */

static bk_status read_fd(const char *path, int fd, size_t hint, bk_buf *buf, bk_error *err) {
    enum { CHUNK = 64 * 1024 };
    size_t limit = buf->limit ? buf->limit : (size_t)1 << 30;
    for (;;) {
        size_t room = limit > buf->len ? limit - buf->len : 0;
        size_t want = bk_min_size(room, bk_max_size(hint, CHUNK));
        char past_limit; /* at the limit one more byte tells "ends here" from "too long" */
        if (want && !bk_buf_reserve(buf, want)) {
            return bk_fail(err, BK_ERR_NOMEM, "no memory to read " PATH_FMT, path);
        }
        if (want) buf->data[buf->len] = '\0';
        ssize_t n = read(fd, want ? buf->data + buf->len : &past_limit, want ? want : 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(err, errno, "read", path);
        if (n == 0) return BK_OK;
        if (!want) {
            return bk_fail(err, BK_ERR_LIMIT, PATH_FMT " is longer than the limit of %zu bytes",
                           path, limit);
        }
        buf->len += (size_t)n;
        buf->data[buf->len] = '\0';
        hint = 0;
    }
}

bk_status bk_file_read(const char *path, bk_buf *buf, bk_error *err) {
    if (strcmp(path, "-") == 0) return read_fd("standard input", STDIN_FILENO, 0, buf, err);
    int fd = open_retry(path, O_RDONLY, 0);
    if (fd < 0) return fail_errno(err, errno, "open", path);
    struct stat st;
    bk_status status;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        status = bk_fail(err, BK_ERR_FORMAT, PATH_FMT " is a directory, wanted a file", path);
    } else {
        /* One byte more than the size, so that one further read finds the end. */
        size_t hint =
            st.st_size > 0 && (uintmax_t)st.st_size < SIZE_MAX ? (size_t)st.st_size + 1 : 0;
        status = read_fd(path, fd, hint, buf, err);
    }
    close(fd);
    return status;
}

static bool write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = EIO;
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* A rename is on disk when its folder is. Some file systems cannot sync folders: not an error. */
static void sync_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? bk_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    int fd = open_retry(dir ? dir : ".", O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    bk_free(dir);
}

/* Creates a file beside path whose name is free; its name goes to tmp[cap]. Returns -1 with errno
 * and an empty name. */
static int create_beside(const char *path, char *tmp, size_t cap) {
    static atomic_uint counter;
    tmp[0] = '\0';
    for (int attempt = 0; attempt < 100; attempt++) {
        unsigned n = atomic_fetch_add(&counter, 1);
        int len = snprintf(tmp, cap, "%s.%ld-%u-%llx.tmp", path, (long)getpid(), n,
                           (unsigned long long)bk_now_ns());
        if (len < 0 || (size_t)len >= cap) {
            tmp[0] = '\0';
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open_retry(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
        if (fd >= 0) return fd;
        tmp[0] = '\0';
        if (errno != EEXIST) break;
    }
    return -1;
}

bk_status bk_file_begin(const char *path, bk_file_writer *out, bk_error *err) {
    struct stat st;
    *out = (bk_file_writer){.fd = -1};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* renaming over /dev/null would lose it */
        return bk_fail(err, BK_ERR_INVALID, PATH_FMT " exists and is not a regular file", path);
    }
    size_t cap = strlen(path) + 64;
    bk_file_writer w = {.fd = -1,
                        .path = bk_strndup(path, strlen(path)),
                        .tmp = bk_alloc_zero(cap, 1)};
    bk_status status = BK_OK;
    if (!w.path || !w.tmp) {
        status = bk_fail(err, BK_ERR_NOMEM, "no memory to write " PATH_FMT, path);
    } else if ((w.fd = create_beside(path, w.tmp, cap)) < 0) {
        status = fail_errno(err, errno, "create a file beside", path);
    }
    *out = w;
    if (status != BK_OK) bk_file_abandon(out);
    return status;
}

bk_status bk_file_put(bk_file_writer *w, const void *data, size_t len, bk_error *err) {
    if (write_all(w->fd, data, len)) return BK_OK;
    return fail_errno(err, errno, "write", w->path);
}

/* A failed fsync counts as lost data: the kernel may have marked the pages clean, so trying again
 * would prove nothing. */
bk_status bk_file_commit(bk_file_writer *w, bk_error *err) {
    const char *step = "sync";
    bool ok = fsync(w->fd) == 0;
    int saved = errno;
    if (close(w->fd) != 0 && ok) {
        step = "close";
        saved = errno;
        ok = false;
    }
    w->fd = -1;
    if (ok) {
        step = "rename to";
        ok = rename(w->tmp, w->path) == 0;
        saved = errno;
    }
    bk_status status = BK_OK;
    if (ok) {
        sync_parent(w->path);
        w->tmp[0] = '\0';
    } else {
        status = fail_errno(err, saved, step, w->path);
    }
    bk_file_abandon(w);
    return status;
}

void bk_file_abandon(bk_file_writer *w) {
    if (w->tmp && w->fd >= 0) close(w->fd);
    if (w->tmp && w->tmp[0]) unlink(w->tmp);
    bk_free(w->tmp);
    bk_free(w->path);
    *w = (bk_file_writer){.fd = -1};
}

bk_status bk_file_write_atomic(const char *path, const void *data, size_t len, bk_error *err) {
    bk_file_writer w;
    bk_status status = bk_file_begin(path, &w, err);
    if (status != BK_OK) return status;
    status = bk_file_put(&w, data, len, err);
    if (status == BK_OK) return bk_file_commit(&w, err);
    bk_file_abandon(&w);
    return status;
}

/* ---- The cache folder ----------------------------------------------------------------------- */

/* mkdir -p, private to the user where it makes something. */
static bk_status make_dirs(char *path, bk_error *err) {
    for (char *p = path + 1;; p++) {
        char c = *p;
        if (c != '/' && c != '\0') continue;
        *p = '\0';
        bool ok = mkdir(path, 0700) == 0 || errno == EEXIST;
        int saved = errno;
        if (!ok) return fail_errno(err, saved, "make the cache folder", path);
        *p = c;
        if (c == '\0') break;
    }
    struct stat st;
    if (stat(path, &st) != 0) return fail_errno(err, errno, "examine", path);
    if (S_ISDIR(st.st_mode)) return BK_OK;
    return bk_fail(err, BK_ERR_IO, "the cache folder " PATH_FMT " is not a folder", path);
}

bk_status bk_cache_dir(char *out, size_t cap, bk_error *err) {
    const char *brisk = getenv("BRISK_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int n;
    if (brisk && *brisk) {
        n = snprintf(out, cap, "%s", brisk);
    } else if (xdg && *xdg == '/') { /* the XDG specification has relative paths ignored */
        n = snprintf(out, cap, "%s/brisk", xdg);
    } else if (home && *home) {
        n = snprintf(out, cap, "%s/.cache/brisk", home);
    } else {
        return bk_fail(err, BK_ERR_NOT_FOUND,
                       "no cache folder: HOME is not set; set BRISK_CACHE to a folder");
    }
    if (n < 0 || (size_t)n >= cap) {
        return bk_fail(err, BK_ERR_LIMIT, "the path of the cache folder is longer than %zu bytes",
                       cap - 1);
    }
    return make_dirs(out, err);
}
