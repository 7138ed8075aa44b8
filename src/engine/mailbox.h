/* A queue of flat records between threads, with a file descriptor that is readable while it holds
 * some. Any thread puts, one takes. */
#ifndef BRISK_ENGINE_MAILBOX_H
#define BRISK_ENGINE_MAILBOX_H

#include <pthread.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct bk_mailbox {
    pthread_mutex_t lock;
    pthread_cond_t taken;
    int fd;        /* an eventfd */
    bk_buf filled; /* put, not yet taken */
    bool open, closed;
} bk_mailbox;

/* IO. */
bk_status bk_mailbox_init(bk_mailbox *m, bk_error *err);
void bk_mailbox_free(bk_mailbox *m);

/* Adds whole records, and wakes who waits when there were none. False when memory is short. */
bool bk_mailbox_put(bk_mailbox *m, const void *records, size_t bytes);

/* The same for a writer who may be held up: waits while `room` bytes lie untaken, until they are taken
 * or the box is closed. */
bool bk_mailbox_put_slowly(bk_mailbox *m, const void *records, size_t bytes, size_t room);
void bk_mailbox_close(bk_mailbox *m);

/* Swaps the untaken records with those in *empty (whose content is dropped). Whether there are any. */
bool bk_mailbox_take(bk_mailbox *m, bk_buf *empty);

/* Sleeps until there is something to take. */
void bk_mailbox_wait(bk_mailbox *m);

#endif
