/* A checkpoint of training as any bytes behind a byte that says of which kind: whoever goes on from it
 * is refused with a line, or gets a trainer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "train/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with these bytes, and a path that opens it. */
static int file_of(const void *bytes, size_t n, char path[32]) {
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n) abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static const char text[] = "in the beginning was the word, and it was one of many; some were read";
static const char table[] = "x,y,class\n1,2,a\n2,1,b\n3,4,a\n4,3,b\n5,6,a\n6,5,b\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    char checkpoint[32], examples[32];
    bk_train_options o;
    bk_train *t = NULL;
    bk_error err = {0};
    bk_train_kind kind = (bk_train_kind)(data[0] % BK_TRAIN_KINDS);
    int fd = file_of(data + 1, size - 1, checkpoint);
    int with = kind == BK_TRAIN_MLP ? file_of(table, sizeof table - 1, examples)
                                    : file_of(text, sizeof text - 1, examples);
    bk_train_default(kind, &o);
    o.threads = 1;
    o.data = examples;
    o.resume = checkpoint;
    if (bk_train_open(&o, &t, &err) && strlen(err.text) < 5) abort();
    bk_train_close(&t);
    close(fd);
    close(with);
    return 0;
}
