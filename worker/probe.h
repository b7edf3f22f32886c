/* probe.h - the proof of a worker's arithmetic (DESIGN §4): a digest of gradients and products that
 * any difference in kernels, BLAS or weights changes. Place in the flow: before the first job. */
#ifndef PFT_PROBE_H
#define PFT_PROBE_H

#include <stdint.h>

#include "common/base/hash.h"
#include "worker/engine.h"

/* XXH3-128 over the int64 gradient and loss of a fixed 96-token tree with a random adapter (B not
 * zero), followed by every product shape of the model at 1, 7 and a full tile of rows. Takes about
 * a second; uses the slot's memory. */
MUST_USE enum err engine_probe(struct engine_slot *slot, uint8_t digest[HASH_XXH128_BYTES],
                               struct errbuf *e);

#endif
