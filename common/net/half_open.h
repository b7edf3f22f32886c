/* half_open.h - connections of a bound socket that were accepted and have said nothing yet: how
 * many there may be, all together and of one address, and which one has to go.
 * Owns: a list of descriptors. Never: a socket, a clock. Place: inside socket, on its thread.
 *
 * libzmq gives a handshake two seconds (SOCKET_HANDSHAKE_MS) and holds any number meanwhile, each
 * with a descriptor. It does not tell which connection got through, so one counts as half open
 * until its first message, its end, or until its time is over. The oldest one goes: an honest
 * handshake takes milliseconds. */
#ifndef PFT_HALF_OPEN_H
#define PFT_HALF_OPEN_H

#include <stdint.h>

#include "common/base/err.h"

struct half_open;

MUST_USE enum err half_open_open(uint32_t total, uint32_t per_address, struct half_open **out);
void half_open_close(struct half_open **h);

/* A connection was accepted. address: a hash of where it comes from, 0: from this machine's file
 * system, without a cap of its own. The descriptor to hang up on, -1: none. */
MUST_USE int half_open_accepted(struct half_open *h, int fd, uint64_t address, uint64_t now_ms);

enum half_open_end {
    HALF_OPEN_UNKNOWN, /* it is none: it spoke, or its time was over */
    HALF_OPEN_WAITING,
    HALF_OPEN_LATE,    /* it waited for about as long as a handshake may take */
    HALF_OPEN_EVICTED, /* hung up on by half_open_accepted */
};
/* It spoke or is gone. */
enum half_open_end half_open_over(struct half_open *h, int fd, uint64_t now_ms);
/* The caller hangs up on it for a reason of its own. */
void half_open_evict(struct half_open *h, int fd);

#endif
