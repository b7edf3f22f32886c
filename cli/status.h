/* status.h - asks a coordinator how it is, and shows the answer.
 * Owns: the JSON and the table. Never: how the figures come about. Blocks; no loop needed.
 *
 * JSON, one object: schema, run, task, state (starting running degraded draining finished failed
 * waiting),
 * text (why degraded or failed; else ""), step {open, committed, total}, loss (null: none yet),
 * kl (of the anchor, nats a token; null: none),
 * pairs_per_s, tokens_per_s (means of the last 30 s), eta_s (null: unknown), units {queued, leased,
 * done}, useful_slots, refused,
 * workers [{id, host, slots, state, units_done, tokens_per_s, last_heard_ms,
 * core_type, strikes}]. */
#ifndef PFT_CLI_STATUS_H
#define PFT_CLI_STATUS_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/address.h"
#include "common/net/key_file.h"
#include "common/wire/status_message.h"

enum { STATUS_TIMEOUT_MS = 3000 };

/* One question to a status address (ipc://... or tcp://...): OK fills *out (status_free). key:
 * NULL, or for a tcp address that asks for one. ERR_TIMEOUT when nobody answers within timeout_ms,
 * ERR_REFUSED when the key is not let in. */
MUST_USE enum err status_fetch(const char *address, const struct key_file *key,
                               const struct status_request *request, struct status *out,
                               int timeout_ms, struct errbuf *e);

/* The status address of a run folder (RUN/address.json), or the target itself when it is an
 * address. ERR_NOT_FOUND when the folder has no address.json: no coordinator has served it yet. */
MUST_USE enum err status_address(const char *target, char out[ADDRESS_BYTES], struct errbuf *e);
/* The same of a target (status_address) and a key file, which may be NULL; asked again when nobody
 * answers, `tries` times in all: for what may be asked twice. */
MUST_USE enum err status_ask(const char *target, const char *key_path,
                             const struct status_request *request, int tries, struct status *out,
                             struct errbuf *e);

/* Append to out; check str_ok. */
void status_json(const struct status *s, struct str *out);
void status_table(const struct status *s, struct str *out);

/* pft status RUN|ADDRESS [--json] [--key FILE]: prints to stdout. key_path may be NULL. */
MUST_USE enum err status_show(const char *target, const char *key_path, bool json,
                              struct errbuf *e);

#endif
