/* self_attack.h - attacks an address of our own as others would, before others can.
 * Owns: the clients it attacks with. Never: changes the socket attacked. Blocks: milliseconds when
 * all is well, seconds when not. */
#ifndef PFT_SELF_ATTACK_H
#define PFT_SELF_ATTACK_H

#include "common/base/err.h"
#include "common/net/key_file.h"

/* endpoint: a bound tcp endpoint with numbers ("tcp://0.0.0.0:5555"), served by other threads.
 * A client with a key made this moment, and one that speaks plain ZMTP without keys, must both be
 * turned away; a client with own, the coordinator's key, must get through, so that a dead door is
 * not taken for a closed one. ERR_REFUSED: somebody got in; ERR_IO: no verdict. */
MUST_USE enum err self_attack(const char *endpoint, const struct key_file *own, struct errbuf *e);

#endif
