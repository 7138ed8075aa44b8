#include "engine/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

bk_status bk_mailbox_init(bk_mailbox *m, bk_error *err) {
    *m = (bk_mailbox){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (m->fd < 0) return bk_fail(err, BK_ERR_IO, "eventfd: %s", strerror(errno));
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->taken, NULL);
    m->open = true;
    return BK_OK;
}

void bk_mailbox_free(bk_mailbox *m) {
    if (!m->open) return;
    m->open = false;
    close(m->fd);
    bk_buf_free(&m->filled);
    pthread_cond_destroy(&m->taken);
    pthread_mutex_destroy(&m->lock);
}

/* An eventfd's counter cannot overflow here: it is written when the box was empty and read when it is
 * emptied. */
static void wake(bk_mailbox *m) {
    uint64_t one = 1;
    ssize_t n;
    do n = write(m->fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

static bool put_locked(bk_mailbox *m, const void *records, size_t bytes) {
    bool was_empty = m->filled.len == 0;
    size_t before = m->filled.len;
    if (!bk_buf_append(&m->filled, records, bytes)) {
        m->filled.len = before;
        m->filled.failed = false;
        return false;
    }
    if (was_empty) wake(m);
    return true;
}

bool bk_mailbox_put(bk_mailbox *m, const void *records, size_t bytes) {
    if (bytes == 0) return true;
    pthread_mutex_lock(&m->lock);
    bool ok = put_locked(m, records, bytes);
    pthread_mutex_unlock(&m->lock);
    return ok;
}

bool bk_mailbox_put_slowly(bk_mailbox *m, const void *records, size_t bytes, size_t room) {
    if (bytes == 0) return true;
    pthread_mutex_lock(&m->lock);
    while (m->filled.len > room && !m->closed) pthread_cond_wait(&m->taken, &m->lock);
    bool ok = put_locked(m, records, bytes);
    pthread_mutex_unlock(&m->lock);
    return ok;
}

void bk_mailbox_close(bk_mailbox *m) {
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    pthread_cond_broadcast(&m->taken);
    pthread_mutex_unlock(&m->lock);
}

bool bk_mailbox_take(bk_mailbox *m, bk_buf *empty) {
    uint64_t count;
    bk_buf_clear(empty);
    pthread_mutex_lock(&m->lock);
    bk_buf filled = m->filled;
    m->filled = *empty;
    *empty = filled;
    if (filled.len > 0) {
        ssize_t n = read(m->fd, &count, sizeof count);
        (void)n; /* an eventfd that was written gives its counter */
        pthread_cond_broadcast(&m->taken);
    }
    pthread_mutex_unlock(&m->lock);
    return filled.len > 0;
}

void bk_mailbox_wait(bk_mailbox *m) {
    struct pollfd p = {.fd = m->fd, .events = POLLIN};
    int n;
    do n = poll(&p, 1, -1);
    while (n < 0 && errno == EINTR);
}
