/* zap.c - the thread behind inproc://zeromq.zap.01. */
#include "common/net/zap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"

enum { LOOK_MS = 500, FRAME_BYTES = 256, FRAMES = 7 };

static const char ENDPOINT[] = "inproc://zeromq.zap.01";

/* Request frames in order; RFC 27. */
enum { VERSION, ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS };

struct zap {
    void *context;
    void *socket; /* REP; the thread's from the start of the thread on */
    void *end;    /* REQ; made early, when there is a descriptor for it */
    pthread_t thread;
    bool started;
    atomic_bool speaks;
    char folder[FILE_PATH_BYTES];
    uint8_t own[KEY_BYTES];
    bool (*may)(const char *domain, enum key_role role);
    struct mailbox *news;
    struct allow_list list;
    uint64_t stamp;
    bool settled;
    bool blind; /* the list cannot be read */
    struct log_limit denied, unreadable, damaged;
};

struct question {
    char frames[FRAMES][FRAME_BYTES + 1]; /* with a NUL behind */
    size_t bytes[FRAMES];
    int count; /* frames that came, more than FRAMES too */
};

static void drop_news(struct letter *letter)
{
    struct zap_news *news = (struct zap_news *)letter;
    allow_list_free(&news->list);
    mem_free(news);
}

/* False: there is no memory for it, or the loop is behind. An older list may stand there then, so
 * nobody new gets in until the list was read again. */
static bool post(struct zap *z)
{
    struct zap_news *news = mem_calloc(1, sizeof *news);
    bool posted = news && allow_list_copy(&z->list, &news->list) == OK;
    if (posted) {
        news->letter.drop = drop_news;
        posted = mailbox_post(z->news, &news->letter) == OK;
    }
    if (!posted && news) {
        drop_news(&news->letter);
    }
    if (!posted) {
        allow_list_free(&z->list);
        z->stamp = 0;
    }
    return posted;
}

/* Reads the list again when the folder changed; what cannot be read is an empty list. */
static enum err look(struct zap *z, struct errbuf *e)
{
    bool settled;
    uint64_t stamp = allow_list_stamp(z->folder, &settled);
    if (stamp == z->stamp && stamp != 0 && z->settled) {
        return OK;
    }
    z->settled = settled;
    struct allow_list before = z->list;
    enum err error = allow_list_read(z->folder, &z->list, e);
    z->blind = error != OK;
    z->stamp = z->blind ? 0 : stamp; /* read again at the next look */
    if (error == OK && z->list.damaged > 0) {
        log_limited(&z->damaged, clock_now_ms(), LOG_ERROR, "key_damaged", "files=%zu %s",
                    z->list.damaged, z->list.first.text);
    }
    bool same =
        before.n == z->list.n &&
        (before.n == 0 || memcmp(before.keys, z->list.keys, before.n * sizeof *before.keys) == 0);
    allow_list_free(&before);
    if (error == OK && !same && !post(z)) {
        z->blind = true;
    }
    return error;
}

static void look_and_tell(struct zap *z)
{
    struct errbuf e = {{0}};
    if (look(z, &e) != OK) {
        log_limited(&z->unreadable, clock_now_ms(), LOG_ERROR, "keys_unreadable",
                    "nobody is let in: %s", e.text);
    }
}

/* All frames of one question; false: the context ends, or zap_close wants the thread to. */
static bool receive(struct zap *z, struct question *q)
{
    q->count = 0;
    for (int more = 1; more; q->count++) {
        zmq_msg_t frame;
        (void)zmq_msg_init(&frame);
        int n;
        do {
            n = zmq_msg_recv(&frame, z->socket, 0);
        } while (n < 0 && errno == EINTR);
        if (n < 0) {
            (void)zmq_msg_close(&frame);
            return false;
        }
        more = zmq_msg_more(&frame);
        if (q->count < FRAMES) {
            size_t bytes = zmq_msg_size(&frame) < FRAME_BYTES ? zmq_msg_size(&frame) : FRAME_BYTES;
            memcpy(q->frames[q->count], zmq_msg_data(&frame), bytes);
            q->frames[q->count][bytes] = '\0';
            q->bytes[q->count] = bytes;
        }
        (void)zmq_msg_close(&frame);
    }
    return q->count > 1; /* one frame: from zap_close; nobody outside this process can send it */
}

/* Whose key it is, "" for the coordinator's own, NULL when it may not come in. */
static const char *judge(const struct zap *z, const struct question *q, const char **why)
{
    const uint8_t *key = (const uint8_t *)q->frames[CREDENTIALS];
    *why = "is no CURVE client";
    if (q->count != FRAMES || strcmp(q->frames[MECHANISM], "CURVE") != 0 ||
        q->bytes[CREDENTIALS] != KEY_BYTES) {
        return NULL;
    }
    if (memcmp(key, z->own, KEY_BYTES) == 0) {
        return "";
    }
    const struct allowed_key *known = allow_list_find(&z->list, key);
    *why = "is on no list, or revoked";
    if (!known) {
        return NULL;
    }
    *why = "has a role that may not use this socket";
    return z->may(q->frames[DOMAIN], known->role) ? known->name : NULL;
}

static bool send(struct zap *z, const char *text, size_t bytes, bool more)
{
    return zmq_send(z->socket, text, bytes, more ? ZMQ_SNDMORE : 0) >= 0;
}

static bool answer(struct zap *z, const struct question *q, const char *user)
{
    /* After 300 libzmq's client comes back by itself, after 400 it does not. */
    const char *code = user ? "200" : z->blind ? "300" : "400";
    const char *text = user ? "OK" : z->blind ? "the list cannot be read" : "not allowed";
    user = user ? user : "";
    return send(z, "1.0", 3, true) &&
           send(z, q->frames[ID], q->count > ID ? q->bytes[ID] : 0, true) &&
           send(z, code, 3, true) && send(z, text, strlen(text), true) &&
           send(z, user, strlen(user), true) && send(z, "", 0, false);
}

static void tell(struct zap *z, const struct question *q, const char *why)
{
    char hex[KEY_HEX] = "none";
    if (q->count == FRAMES && q->bytes[CREDENTIALS] == KEY_BYTES) {
        key_hex((const uint8_t *)q->frames[CREDENTIALS], hex);
    }
    log_limited(&z->denied, clock_now_ms(), LOG_WARN, "key_denied", "socket=%s from=%s key=%s %s",
                q->count > ADDRESS ? q->frames[DOMAIN] : "-",
                q->count > ADDRESS ? q->frames[ADDRESS] : "-", hex, why);
}

static void *keep_door(void *ctx)
{
    struct zap *z = ctx;
    static _Thread_local struct question q;
    for (;;) {
        zmq_pollitem_t item = {.socket = z->socket, .events = ZMQ_POLLIN};
        int n = zmq_poll(&item, 1, LOOK_MS);
        if (n < 0 && errno != EINTR) {
            break;
        }
        look_and_tell(z);
        if (n <= 0) {
            continue;
        }
        if (!receive(z, &q)) {
            break;
        }
        const char *why = "";
        const char *user = judge(z, &q, &why);
        if (!user && atomic_load(&z->speaks)) {
            tell(z, &q, why);
        }
        if (!answer(z, &q, user)) {
            break;
        }
    }
    (void)zmq_close(z->socket);
    return NULL;
}

static enum err start(struct zap *z, struct errbuf *e)
{
    const int none = 0;
    z->socket = zmq_socket(z->context, ZMQ_REP);
    z->end = zmq_socket(z->context, ZMQ_REQ);
    if (!z->socket || !z->end || zmq_setsockopt(z->socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(z->end, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_bind(z->socket, ENDPOINT) != 0 || zmq_connect(z->end, ENDPOINT) != 0) {
        return err_set(e, ERR_IO, "%s: %s", ENDPOINT, zmq_strerror(errno));
    }
    z->started = pthread_create(&z->thread, NULL, keep_door, z) == 0;
    return z->started ? OK : err_set(e, ERR_NOMEM, "no thread to check keys");
}

enum err zap_open(struct socket_context *c, const struct zap_config *cfg, struct zap **out,
                  struct errbuf *e)
{
    *out = NULL;
    struct zap *z = mem_calloc(1, sizeof *z);
    if (!z) {
        return err_set(e, ERR_NOMEM, "no memory to check keys");
    }
    z->context = socket_context_zmq(c);
    z->may = cfg->may;
    z->news = cfg->news;
    memcpy(z->own, cfg->own, KEY_BYTES);
    enum err error = file_join(z->folder, cfg->keys_folder, "", e);
    if (error == OK) {
        error = look(z, e);
    }
    if (error == OK) {
        error = start(z, e);
    }
    if (error != OK) {
        zap_close(&z);
    }
    *out = z;
    return error;
}

void zap_speak(struct zap *zap)
{
    atomic_store(&zap->speaks, true);
}

void zap_close(struct zap **zap)
{
    struct zap *z = *zap;
    *zap = NULL;
    if (!z) {
        return;
    }
    if (z->started) {
        CHECK(zmq_send(z->end, "end", 3, 0) == 3);
        CHECK(pthread_join(z->thread, NULL) == 0);
    } else if (z->socket) {
        (void)zmq_close(z->socket);
    }
    if (z->end) {
        (void)zmq_close(z->end);
    }
    allow_list_free(&z->list);
    mem_free(z);
}
