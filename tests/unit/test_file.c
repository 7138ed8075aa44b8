/* Maps, whole files, atomic writes, the cache folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/file.h"

static char folder[256];

static const char *in_folder(const char *name) {
    static char paths[4][512];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/brisk-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static size_t count_entries(const char *path) {
    DIR *d = opendir(path);
    size_t n = 0;
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2; /* "." and ".." */
}

static void remove_tree(const char *path) {
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char child[1024];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (unlink(child) != 0) remove_tree(child);
    }
    if (d) closedir(d);
    rmdir(path);
}

static int teardown(void **state) {
    (void)state;
    remove_tree(folder);
    return 0;
}

static void put(const char *path, const void *data, size_t len) {
    bk_error e;
    assert_int_equal(bk_file_write_atomic(path, data, len, &e), BK_OK);
}

static void maps(void **state) {
    (void)state;
    enum { N = 3 * 4096 + 17 };
    static uint8_t bytes[N];
    for (size_t i = 0; i < N; i++) bytes[i] = (uint8_t)(i * 31 >> 3);
    const char *path = in_folder("map");
    put(path, bytes, N);
    bk_map m;
    bk_error e;
    assert_int_equal(bk_map_open(path, &m, &e), BK_OK);
    assert_int_equal(m.size, N);
    assert_memory_equal(m.data, bytes, N);
    assert_true(fcntl(m.fd, F_GETFD) & FD_CLOEXEC);

    /* What was dropped is read anew. Ranges past the end are cut. */
    bk_map_drop(&m, 0, N);
    bk_map_drop(&m, 5, 4096);
    bk_map_drop(&m, N - 1, SIZE_MAX);
    bk_map_drop(&m, SIZE_MAX, 1);
    assert_memory_equal(m.data, bytes, N);

    assert_int_equal(bk_map_check_unchanged(&m, &e), BK_OK);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(bk_map_check_unchanged(&m, &e), BK_ERR_IO);
    assert_non_null(strstr(e.text, "from 12305 to 100 bytes"));
    bk_map_close(&m);
    assert_null(m.data);
    bk_map_close(&m);
}

static void maps_refuse(void **state) {
    (void)state;
    bk_map m;
    bk_error e;
    assert_int_equal(bk_map_open(in_folder("absent.gguf"), &m, &e), BK_ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "absent.gguf"));
    assert_null(m.data);
    assert_int_equal(bk_map_open(folder, &m, &e), BK_ERR_FORMAT);
    assert_non_null(strstr(e.text, "directory"));
    put(in_folder("empty"), "", 0);
    assert_int_equal(bk_map_open(in_folder("empty"), &m, &e), BK_ERR_FORMAT);
    assert_non_null(strstr(e.text, "empty"));
    /* A FIFO without a writer: refused at once instead of waited for. */
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(bk_map_open(in_folder("fifo"), &m, &e), BK_ERR_FORMAT);
    assert_int_equal(bk_map_open("/dev/null", &m, &e), BK_ERR_FORMAT);
    assert_int_equal(bk_map_open("", &m, &e), BK_ERR_NOT_FOUND);
    char longer[6000];
    memset(longer, 'p', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(bk_map_open(longer, &m, &e), BK_ERR_IO);
    assert_non_null(strstr(e.text, "too long"));
    bk_map_close(&m);
}

static void reads(void **state) {
    (void)state;
    enum { N = 200000 };
    static char bytes[N];
    for (size_t i = 0; i < N; i++) bytes[i] = (char)('a' + i % 23);
    const char *path = in_folder("read");
    put(path, bytes, N);
    bk_buf b = {0};
    bk_error e;
    assert_int_equal(bk_file_read(path, &b, &e), BK_OK);
    assert_int_equal(b.len, N);
    assert_memory_equal(b.data, bytes, N);
    assert_true(b.data[N] == '\0');
    bk_buf_free(&b);

    b = (bk_buf){.limit = N};
    assert_int_equal(bk_file_read(path, &b, &e), BK_OK);
    bk_buf_free(&b);
    b = (bk_buf){.limit = N - 1};
    assert_int_equal(bk_file_read(path, &b, &e), BK_ERR_LIMIT);
    assert_non_null(strstr(e.text, "199999"));
    bk_buf_free(&b);

    b = (bk_buf){0};
    put(in_folder("none"), "", 0);
    assert_int_equal(bk_file_read(in_folder("none"), &b, &e), BK_OK);
    assert_string_equal(b.data, "");
    /* Files whose size is not known beforehand. */
    assert_int_equal(bk_file_read("/proc/self/status", &b, &e), BK_OK);
    assert_non_null(strstr(b.data, "Name:"));
    assert_int_equal(bk_file_read(folder, &b, &e), BK_ERR_FORMAT);
    assert_int_equal(bk_file_read(in_folder("absent"), &b, &e), BK_ERR_NOT_FOUND);
    bk_buf_free(&b);
}

static void reads_standard_input(void **state) {
    (void)state;
    int ends[2], saved = dup(STDIN_FILENO);
    bk_buf b = {0};
    bk_error e;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "piped", 5), 5);
    close(ends[1]);
    assert_true(dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
    close(ends[0]);
    bk_status status = bk_file_read("-", &b, &e);
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_int_equal(status, BK_OK);
    assert_string_equal(b.data, "piped");
    bk_buf_free(&b);
}

static void atomic_writes(void **state) {
    (void)state;
    char sub[512];
    bk_error e;
    bk_buf b = {0};
    snprintf(sub, sizeof sub, "%s/sub", folder);
    assert_int_equal(mkdir(sub, 0700), 0);
    const char *path = in_folder("sub/file");
    put(path, "old", 3);
    put(path, "newer", 5);
    assert_int_equal(bk_file_read(path, &b, &e), BK_OK);
    assert_string_equal(b.data, "newer");
    bk_buf_free(&b);
    assert_int_equal(count_entries(sub), 1); /* no temporary file stays */

    assert_int_equal(bk_file_write_atomic(in_folder("no/such/file"), "x", 1, &e), BK_ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "no/such/file"));
    assert_int_equal(bk_file_write_atomic(sub, "x", 1, &e), BK_ERR_INVALID);
    assert_int_equal(bk_file_write_atomic("/dev/null", "x", 1, &e), BK_ERR_INVALID);
    assert_int_equal(count_entries(sub), 1);
}

static void relative_path(void **state) {
    (void)state;
    char back[1024];
    bk_error e;
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(folder), 0);
    bk_status status = bk_file_write_atomic("plain", "1", 1, &e);
    assert_int_equal(chdir(back), 0);
    assert_int_equal(status, BK_OK);
    assert_int_equal(access(in_folder("plain"), R_OK), 0);
}

static void cache_folder(void **state) {
    (void)state;
    char out[600], small[8];
    bk_error e;
    struct stat st;
    setenv("HOME", in_folder("home"), 1);
    setenv("XDG_CACHE_HOME", in_folder("xdg"), 1);
    setenv("BRISK_CACHE", in_folder("a/b/c"), 1);
    assert_int_equal(bk_cache_dir(out, sizeof out, &e), BK_OK);
    assert_string_equal(out, in_folder("a/b/c"));
    assert_int_equal(stat(out, &st), 0);
    assert_true(S_ISDIR(st.st_mode) && (st.st_mode & 077) == 0);
    assert_int_equal(bk_cache_dir(out, sizeof out, &e), BK_OK); /* there already */
    assert_int_equal(bk_cache_dir(small, sizeof small, &e), BK_ERR_LIMIT);

    unsetenv("BRISK_CACHE");
    assert_int_equal(bk_cache_dir(out, sizeof out, &e), BK_OK);
    assert_string_equal(out, in_folder("xdg/brisk"));
    setenv("XDG_CACHE_HOME", "relative/is/ignored", 1);
    assert_int_equal(bk_cache_dir(out, sizeof out, &e), BK_OK);
    assert_string_equal(out, in_folder("home/.cache/brisk"));
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_int_equal(bk_cache_dir(out, sizeof out, &e), BK_ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "BRISK_CACHE"));

    put(in_folder("file"), "x", 1);
    setenv("BRISK_CACHE", in_folder("file"), 1);
    assert_int_equal(bk_cache_dir(out, sizeof out, &e), BK_ERR_IO);
    setenv("BRISK_CACHE", in_folder("file/below"), 1);
    assert_true(bk_cache_dir(out, sizeof out, &e) != BK_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps),          cmocka_unit_test(maps_refuse),
        cmocka_unit_test(reads),         cmocka_unit_test(reads_standard_input),
        cmocka_unit_test(atomic_writes), cmocka_unit_test(relative_path),
        cmocka_unit_test(cache_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
