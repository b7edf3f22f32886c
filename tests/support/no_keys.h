/* no_keys.h - the door-keeper, the self-attack and what sockets say of keys and floods, for
 * programs that put a network of their own in common/net's place and have no keys. Included once.
 */
#ifndef PFT_NO_KEYS_H
#define PFT_NO_KEYS_H

#include "common/base/check.h"
#include "common/net/self_attack.h"
#include "common/net/socket.h"
#include "common/net/zap.h"

const char *socket_sender(const struct socket *s)
{
    (void)s;
    return "";
}

void socket_hang_up_sender(struct socket *s)
{
    (void)s;
}

void socket_allow_unread(struct socket *s, uint64_t unread_bytes, uint64_t unread_total_bytes)
{
    (void)s;
    (void)unread_bytes;
    (void)unread_total_bytes;
}

struct socket_refusals socket_refusals(struct socket *s)
{
    (void)s;
    return (struct socket_refusals){0};
}

enum err zap_open(struct socket_context *c, const struct zap_config *cfg, struct zap **out,
                  struct errbuf *e)
{
    (void)c;
    (void)cfg;
    *out = NULL;
    return err_set(e, ERR_UNSUPPORTED, "there are no keys here");
}

void zap_speak(struct zap *zap)
{
    CHECK(zap == NULL);
}

void zap_close(struct zap **zap)
{
    CHECK(*zap == NULL);
}

enum err self_attack(const char *endpoint, const struct key_file *own, struct errbuf *e)
{
    (void)own;
    return err_set(e, ERR_UNSUPPORTED, "%s: there are no keys here", endpoint);
}

#endif
