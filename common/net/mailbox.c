/* mailbox.c - a bounded list under a lock; a condition for threads, uv_async for loops. */
#include "common/net/mailbox.h"

#include <pthread.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/base/mem.h"

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct letter *first, *last;
    size_t count, limit;
    bool stopped;
    bool attached;
    uv_async_t async;
    void (*ready)(void *ctx);
    void *ctx;
};

enum err mailbox_open(size_t limit, struct mailbox **out)
{
    struct mailbox *m = mem_calloc(1, sizeof *m);
    if (!m) {
        return ERR_NOMEM;
    }
    m->limit = limit;
    CHECK(pthread_mutex_init(&m->lock, NULL) == 0);
    CHECK(pthread_cond_init(&m->filled, NULL) == 0);
    *out = m;
    return OK;
}

static void on_async(uv_async_t *async)
{
    struct mailbox *m = async->data;
    m->ready(m->ctx);
}

enum err mailbox_attach(struct mailbox *m, struct uv_loop_s *loop, void (*ready)(void *ctx),
                        void *ctx)
{
    CHECK(!m->attached);
    if (uv_async_init(loop, &m->async, on_async) != 0) {
        return ERR_IO;
    }
    m->async.data = m;
    m->ready = ready;
    m->ctx = ctx;
    m->attached = true;
    return OK;
}

/* Who takes empties the box before it waits: only the first letter must wake it. Woken outside the
 * lock, it does not run into it. */
enum err mailbox_post(struct mailbox *m, struct letter *letter)
{
    enum err error = OK;
    pthread_mutex_lock(&m->lock);
    bool first = m->count == 0;
    if (m->stopped) {
        error = ERR_GONE;
    } else if (m->count == m->limit) {
        error = ERR_FULL;
    } else {
        letter->next = NULL;
        if (m->last) {
            m->last->next = letter;
        } else {
            m->first = letter;
        }
        m->last = letter;
        m->count++;
    }
    pthread_mutex_unlock(&m->lock);
    if (error == OK && first) {
        if (m->attached) {
            CHECK(uv_async_send(&m->async) == 0);
        } else {
            pthread_cond_signal(&m->filled);
        }
    }
    return error;
}

/* Under the lock. */
static struct letter *pop(struct mailbox *m)
{
    struct letter *letter = m->first;
    if (letter) {
        m->first = letter->next;
        if (!m->first) {
            m->last = NULL;
        }
        letter->next = NULL;
        m->count--;
    }
    return letter;
}

struct letter *mailbox_take(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    struct letter *letter = pop(m);
    pthread_mutex_unlock(&m->lock);
    return letter;
}

struct letter *mailbox_wait(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    while (!m->first && !m->stopped) {
        pthread_cond_wait(&m->filled, &m->lock);
    }
    struct letter *letter = pop(m);
    pthread_mutex_unlock(&m->lock);
    return letter;
}

void mailbox_stop(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->stopped = true;
    pthread_cond_broadcast(&m->filled);
    pthread_mutex_unlock(&m->lock);
}

static void free_mailbox(struct mailbox *m)
{
    pthread_cond_destroy(&m->filled);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

static void on_closed(uv_handle_t *handle)
{
    free_mailbox(handle->data);
}

void mailbox_close(struct mailbox **mailbox)
{
    struct mailbox *m = *mailbox;
    *mailbox = NULL;
    if (!m) {
        return;
    }
    for (struct letter *letter = pop(m); letter; letter = pop(m)) {
        letter->drop(letter);
    }
    if (m->attached) {
        uv_close((uv_handle_t *)&m->async, on_closed);
    } else {
        free_mailbox(m);
    }
}
