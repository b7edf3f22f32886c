/* address.h - the addresses this project accepts, and the second one that follows from a first.
 * Forms: ipc://PATH (at most 107 bytes of path), tcp://HOST:PORT, tcp://HOST:* to bind only.
 * Owns: the rules. Never: opens anything. Pure, any thread. */
#ifndef PFT_ADDRESS_H
#define PFT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

enum { ADDRESS_BYTES = 256, ADDRESS_IPC_PATH_BYTES = 107 };

/* A bind address is ipc or tcp. Without keys it must be ipc or loopback: anything else would be
 * open to everybody, so it is ERR_REFUSED and the message says how to make keys. ERR_USAGE for what
 * is no address at all. */
MUST_USE enum err address_check_bind(const char *address, bool keys, struct errbuf *e);

/* An address to connect to: ipc://PATH or tcp://HOST:PORT. ERR_USAGE names what is wrong. */
MUST_USE enum err address_check_connect(const char *address, struct errbuf *e);

/* The tensor channel of a control address: ipc://P -> ipc://P.tensors, tcp://H:N -> tcp://H:N+1,
 * tcp://H:* -> tcp://H:* (the port that comes out is then told in the welcome). */
MUST_USE enum err address_tensor(const char *control, char out[ADDRESS_BYTES], struct errbuf *e);

/* The path of an ipc address, NULL for others. */
const char *address_ipc_path(const char *address);

#endif
