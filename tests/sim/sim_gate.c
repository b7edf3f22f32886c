/* sim_gate.c - door-keeper and self-attack of common/net, which a simulated run without keys
 * never asks for. */
#include "common/base/check.h"
#include "common/net/self_attack.h"
#include "common/net/zap.h"

enum err zap_open(struct socket_context *c, const struct zap_config *cfg, struct zap **out,
                  struct errbuf *e)
{
    (void)c;
    (void)cfg;
    *out = NULL;
    return err_set(e, ERR_UNSUPPORTED, "a simulated run has no keys");
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
    return err_set(e, ERR_UNSUPPORTED, "%s: a simulated run has no keys", endpoint);
}
