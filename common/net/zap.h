/* zap.h - the door-keeper: answers libzmq's question about every key that knocks (ZAP, RFC 27).
 * Owns: a thread, the inproc endpoint that libzmq asks, its own copy of the allow-list, which it
 * reads again when the folder changes. Never: knows what a role is good for (may says so), touches
 * the loop's state. Place: between libzmq's handshakes and the server, which gets every new list
 * as a letter before a key of it gets in.
 *
 * A list that cannot be read lets nobody in; those who are in stay. The coordinator's own key
 * always passes the handshake: that is how its self-attack knows that the door works at all; it has
 * no rights behind it. */
#ifndef PFT_ZAP_H
#define PFT_ZAP_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/net/allow_list.h"
#include "common/net/mailbox.h"
#include "common/net/socket.h"

/* A new list, first member a letter: take it with mailbox_take, free it with letter.drop. */
struct zap_news {
    struct letter letter;
    struct allow_list list;
};

struct zap_config {
    const char *keys_folder;
    const uint8_t *own; /* public key of the coordinator */
    /* May a key of that role connect to the socket with that domain? Pure. */
    bool (*may)(const char *domain, enum key_role role);
    struct mailbox *news; /* borrowed until zap_close */
};

struct zap;

/* Reads the list, posts it, starts the thread. Before any socket with a key binds. */
MUST_USE enum err zap_open(struct socket_context *c, const struct zap_config *cfg, struct zap **out,
                           struct errbuf *e);
/* From now on keys that are denied are logged, one line a minute at most. Any thread. */
void zap_speak(struct zap *zap);
/* Before the context is closed; blocks until the thread has ended (at once). */
void zap_close(struct zap **zap);

#endif
