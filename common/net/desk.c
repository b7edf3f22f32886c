/* desk.c - the loop of a thread over its mailbox. */
#include "common/net/desk.h"

#include <pthread.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/mem.h"

struct desk {
    struct mailbox *letters;
    desk_handle handle;
    void *ctx;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t closed;
    bool closing; /* under the lock */
};

/* Waits, but not longer than until the desk is closed. True: it is closed. */
static bool pause_ms(struct desk *d, uint32_t ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&d->lock);
    while (ms > 0 && !d->closing && pthread_cond_timedwait(&d->closed, &d->lock, &until) == 0) {
    }
    bool closing = d->closing;
    pthread_mutex_unlock(&d->lock);
    return closing;
}

static void *desk_main(void *argument)
{
    struct desk *d = argument;
    for (struct letter *l = mailbox_wait(d->letters); l; l = mailbox_wait(d->letters)) {
        uint32_t again = d->handle(d->ctx, l, pause_ms(d, 0));
        while (again > 0) {
            again = d->handle(d->ctx, l, pause_ms(d, again));
        }
        l->drop(l);
    }
    return NULL;
}

enum err desk_open(size_t limit, desk_handle handle, void *ctx, struct desk **out)
{
    struct desk *d = mem_calloc(1, sizeof *d);
    if (!d) {
        return ERR_NOMEM;
    }
    pthread_condattr_t clock;
    d->handle = handle;
    d->ctx = ctx;
    CHECK(pthread_condattr_init(&clock) == 0);
    CHECK(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_mutex_init(&d->lock, NULL) == 0);
    CHECK(pthread_cond_init(&d->closed, &clock) == 0);
    (void)pthread_condattr_destroy(&clock);
    enum err error = mailbox_open(limit, &d->letters);
    d->started = error == OK && pthread_create(&d->thread, NULL, desk_main, d) == 0;
    if (!d->started) {
        desk_close(&d);
        return ERR_NOMEM;
    }
    *out = d;
    return OK;
}

enum err desk_post(struct desk *d, struct letter *letter)
{
    enum err error = mailbox_post(d->letters, letter);
    if (error != OK) {
        letter->drop(letter);
    }
    return error;
}

void desk_close(struct desk **desk)
{
    struct desk *d = *desk;
    *desk = NULL;
    if (!d) {
        return;
    }
    pthread_mutex_lock(&d->lock);
    d->closing = true;
    pthread_cond_broadcast(&d->closed);
    pthread_mutex_unlock(&d->lock);
    if (d->letters) {
        mailbox_stop(d->letters);
    }
    if (d->started) {
        pthread_join(d->thread, NULL);
    }
    mailbox_close(&d->letters);
    (void)pthread_cond_destroy(&d->closed);
    (void)pthread_mutex_destroy(&d->lock);
    mem_free(d);
}
