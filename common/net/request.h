/* request.h - one question and its one answer over a socket of its own, for programs without a
 * loop. Owns nothing between calls. Blocks. */
#ifndef PFT_REQUEST_H
#define PFT_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/key_file.h"

/* Blocks for timeout_ms at most. key: NULL, or shown to a tcp address (an ipc socket asks for
 * none). *reply is the caller's (mem_free). ERR_TIMEOUT when nothing came, ERR_REFUSED when the key
 * was turned away. */
MUST_USE enum err request_reply(const char *address, const struct key_file *key,
                                const uint8_t *request, size_t bytes, size_t reply_max,
                                int timeout_ms, uint8_t **reply, size_t *reply_bytes,
                                struct errbuf *e);

#endif
