/* status.h - asks a coordinator how it is, and shows the answer.
 * Owns: the JSON and the table. Never: how the figures come about. Blocks; no loop needed.
 *
 * JSON, one object: schema, run, task, state (starting running degraded draining finished failed
 * waiting),
 * text (why degraded or failed; else ""), step {open, committed, total}, loss (null: none yet),
 * pairs_per_s, tokens_per_s (means of the last 30 s), eta_s (null: unknown), units {queued, leased,
 * done}, useful_slots, workers [{id, host, slots, state, units_done, tokens_per_s, last_heard_ms,
 * core_type, strikes}]. */
#ifndef PFT_CLI_STATUS_H
#define PFT_CLI_STATUS_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/address.h"
#include "common/wire/status_message.h"

enum { STATUS_TIMEOUT_MS = 3000 };

/* One question to a status address (ipc://... or tcp://...): OK fills *out (status_free).
 * ERR_TIMEOUT when nobody answers within timeout_ms. */
MUST_USE enum err status_fetch(const char *address, const struct status_request *request,
                               struct status *out, int timeout_ms, struct errbuf *e);

/* The status address of a run folder (RUN/address.json), or the target itself when it is an
 * address. ERR_NOT_FOUND when the folder has no address.json: no coordinator has served it yet. */
MUST_USE enum err status_address(const char *target, char out[ADDRESS_BYTES], struct errbuf *e);

/* Append to out; check str_ok. */
void status_json(const struct status *s, struct str *out);
void status_table(const struct status *s, struct str *out);

/* pft status RUN|ADDRESS [--json]: prints to stdout. */
MUST_USE enum err status_show(const char *target, bool json, struct errbuf *e);

#endif
