/* status.c - the status of a run as JSON and as a table. */
#include "cli/status.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/net/request.h"

enum { ADDRESS_FILE_BYTES = 1 << 16 };

enum err status_fetch(const char *address, const struct key_file *key,
                      const struct status_request *request, struct status *out, int timeout_ms,
                      struct errbuf *e)
{
    uint8_t bytes[STATUS_REQUEST_BYTES];
    size_t n;
    uint8_t *reply = NULL;
    size_t reply_bytes = 0;
    *out = (struct status){0};
    status_request_encode(request, bytes, &n);
    enum err error = request_reply(address, key, bytes, n, STATUS_REPLY_BYTES, timeout_ms, &reply,
                                   &reply_bytes, e);
    if (error == OK) {
        error = status_decode(reply, reply_bytes, out, e);
        if (error != OK) {
            error = err_prefix(e, error, "%s: is that a status address of pft?", address);
        }
    }
    mem_free(reply);
    return error;
}

/* The key in a file; all zeros for NULL. */
static enum err read_key(const char *path, struct key_file *key, struct errbuf *e)
{
    *key = (struct key_file){.name = ""};
    enum err error = path ? key_file_read(path, key, e) : OK;
    return error == OK && path && key->role == KEY_COORDINATOR
               ? err_set(e, ERR_REFUSED,
                         "%s: is the coordinator's own key, which opens nothing; an "
                         "observer's or operator's is wanted",
                         path)
               : error;
}

/* address.json is there only while a coordinator serves. */
static enum err no_address(const char *target, enum err error, struct errbuf *e)
{
    char report[FILE_PATH_BYTES];
    char db[FILE_PATH_BYTES];
    char list[FILE_PATH_BYTES];
    if (error != ERR_NOT_FOUND || file_join(report, target, "report.md", NULL) != OK ||
        file_join(db, target, "run.db", NULL) != OK) {
        return error;
    }
    if (file_join(list, target, "tasks.json", NULL) == OK && file_exists(list)) {
        return err_set(e, error,
                       "%s: nothing serves it; pft-coordinator --serve %s goes on with it", target,
                       target);
    }
    if (!file_exists(db)) {
        return err_set(e, error, "%s: holds no run (there is no run.db in it)", target);
    }
    return file_exists(report)
               ? err_set(e, error, "%s: is finished, nothing serves it; see %s", target, report)
               : err_set(e, error,
                         "%s: nothing serves it; pft run or pft-coordinator with --resume "
                         "goes on with it",
                         target);
}

enum err status_address(const char *target, char out[ADDRESS_BYTES], struct errbuf *e)
{
    if (strstr(target, "://")) {
        int n = snprintf(out, ADDRESS_BYTES, "%s", target);
        return n < ADDRESS_BYTES ? OK : err_set(e, ERR_USAGE, "%s: too long", target);
    }
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes;
    enum err error = file_join(path, target, "address.json", e);
    if (error == OK) {
        error = file_read(path, ADDRESS_FILE_BYTES, &text, &bytes, e);
    }
    if (error != OK) {
        return no_address(target, error, e);
    }
    json_t *root = json_loadb(text, bytes, 0, NULL);
    const char *address = json_string_value(json_object_get(root, "status"));
    if (!address || strlen(address) >= ADDRESS_BYTES) {
        error = err_set(e, ERR_PARSE, "%s: no \"status\" address in it", path);
    } else {
        (void)snprintf(out, ADDRESS_BYTES, "%s", address);
    }
    json_decref(root);
    mem_free(text);
    return error;
}

enum err status_ask(const char *target, const char *key_path, const struct status_request *request,
                    int tries, struct status *out, struct errbuf *e)
{
    char address[ADDRESS_BYTES];
    struct key_file key;
    enum err error = read_key(key_path, &key, e);
    if (error == OK) {
        error = status_address(target, address, e);
    }
    bool again = error == OK;
    for (int i = 0; i < tries && again; i++) {
        error = status_fetch(address, key_path ? &key : NULL, request, out, STATUS_TIMEOUT_MS, e);
        again = error == ERR_TIMEOUT;
    }
    key_clear(&key);
    return error;
}

static void add_number(struct str *out, const char *name, double value)
{
    if (isfinite(value)) {
        str_addf(out, ",\"%s\":%.6g", name, value);
    } else {
        str_addf(out, ",\"%s\":null", name);
    }
}

static void add_text(struct str *out, const char *before, const char *text)
{
    str_add(out, before);
    str_add_json(out, text, strlen(text));
}

void status_json(const struct status *s, struct str *out)
{
    str_addf(out, "{\"schema\":%u", s->schema);
    add_text(out, ",\"run\":", s->run);
    add_text(out, ",\"task\":", s->task);
    add_text(out, ",\"state\":", s->state);
    add_text(out, ",\"text\":", s->text);
    str_addf(out,
             ",\"step\":{\"open\":%" PRIu64 ",\"committed\":%" PRIu64 ",\"total\":%" PRIu64 "}",
             s->step_open, s->step_committed, s->step_total);
    add_number(out, "loss", s->loss);
    add_number(out, "kl", s->kl);
    add_number(out, "pairs_per_s", s->pairs_per_s);
    add_number(out, "tokens_per_s", s->tokens_per_s);
    add_number(out, "eta_s", s->eta_s);
    add_number(out, "utilisation", s->utilisation);
    str_addf(out, ",\"units\":{\"queued\":%u,\"leased\":%u,\"done\":%" PRIu64 "}", s->units_queued,
             s->units_leased, s->units_done);
    str_addf(out, ",\"audit\":{\"confirmed\":%" PRIu64 ",\"unconfirmed\":%" PRIu64 ",\"suspects\":",
             s->audits_confirmed, s->audits_unconfirmed);
    if (s->suspects[0]) {
        add_text(out, "", s->suspects);
    } else {
        str_add(out, "null");
    }
    str_addf(out, "},\"useful_slots\":%u,\"refused\":%" PRIu64 ",\"workers\":[", s->useful_slots,
             s->refused);
    for (uint32_t i = 0; i < s->n_workers; i++) {
        const struct status_worker *w = &s->workers[i];
        add_text(out, i > 0 ? ",{\"id\":" : "{\"id\":", w->id);
        add_text(out, ",\"host\":", w->host);
        str_addf(out, ",\"slots\":%u", w->slots);
        add_text(out, ",\"state\":", w->state);
        str_addf(out, ",\"units_done\":%" PRIu64, w->units_done);
        add_number(out, "tokens_per_s", w->tokens_per_s);
        add_number(out, "utilisation", w->utilisation);
        str_addf(out, ",\"last_heard_ms\":%" PRIu64, w->last_heard_ms);
        add_text(out, ",\"core_type\":", w->core_type);
        str_addf(out, ",\"strikes\":%u}", w->strikes);
    }
    str_add(out, "]}");
}

/* Six columns. */
static void add_share(struct str *out, double share)
{
    if (isnan(share)) {
        str_addf(out, "%6s", "-");
    } else {
        str_addf(out, "%5.1f%%", 100.0 * share);
    }
}

static void add_duration(struct str *out, double seconds)
{
    if (!isfinite(seconds) || seconds < 0.0 || seconds > 1e9) {
        str_add(out, "-");
        return;
    }
    uint64_t whole = (uint64_t)seconds;
    if (whole >= 3600) {
        str_addf(out, "%" PRIu64 " h %02" PRIu64 " min", whole / 3600, whole / 60 % 60);
    } else if (whole >= 60) {
        str_addf(out, "%" PRIu64 " min %02" PRIu64 " s", whole / 60, whole % 60);
    } else {
        str_addf(out, "%" PRIu64 " s", whole);
    }
}

void status_table(const struct status *s, struct str *out)
{
    str_addf(out, "run      %s\ntask     %s, %s%s%s\n", s->run, s->task, s->state,
             s->text[0] ? ": " : "", s->text);
    str_addf(out, "step     %" PRIu64 " open, %" PRIu64 " committed of %" PRIu64 "\n", s->step_open,
             s->step_committed, s->step_total);
    if (isfinite(s->loss)) {
        str_addf(out, "loss     %.4f", s->loss);
        if (isfinite(s->kl)) {
            str_addf(out, ", KL to the base on the anchor's texts %.4f", s->kl);
        }
        str_add(out, "\n");
    }
    str_addf(out, "speed    %.2f pairs/s, %.0f tokens/s, to go ", s->pairs_per_s, s->tokens_per_s);
    add_duration(out, s->eta_s);
    str_add(out, "\nbusy     ");
    add_share(out, s->utilisation);
    str_addf(out,
             " of the slots' time\nunits    %u queued, %u leased, %" PRIu64
             " done; %u slots are useful\n",
             s->units_queued, s->units_leased, s->units_done, s->useful_slots);
    if (s->audits_confirmed + s->audits_unconfirmed > 0) {
        str_addf(out, "audits   %" PRIu64 " units confirmed, %" PRIu64 " without a second host\n",
                 s->audits_confirmed, s->audits_unconfirmed);
    }
    if (s->suspects[0]) {
        str_addf(out, "SUSPECT  %s\n", s->suspects);
    }
    if (s->refused > 0) {
        str_addf(out, "refused  %" PRIu64 " connections (no key, a wrong one, too many bytes)\n",
                 s->refused);
    }
    str_addf(out, "\n%-24s %-16s %5s %-12s %8s %9s %6s %9s %-11s %s\n", "worker", "host", "slots",
             "state", "units", "tokens/s", "busy", "heard ms", "core", "strikes");
    for (uint32_t i = 0; i < s->n_workers; i++) {
        const struct status_worker *w = &s->workers[i];
        str_addf(out, "%-24s %-16s %5u %-12s %8" PRIu64 " %9.0f ", w->id, w->host, w->slots,
                 w->state, w->units_done, w->tokens_per_s);
        add_share(out, w->utilisation);
        str_addf(out, " %9" PRIu64 " %-11s %u\n", w->last_heard_ms, w->core_type, w->strikes);
    }
    if (s->n_workers == 0) {
        str_add(out, "(no workers)\n");
    }
}

enum err status_show(const char *target, const char *key_path, bool json, struct errbuf *e)
{
    struct status s = {0};
    struct str out = {0};
    const struct status_request ask = {.command = STATUS_ASK};
    enum err error = status_ask(target, key_path, &ask, 1, &s, e);
    if (error == OK) {
        if (json) {
            status_json(&s, &out);
            str_add(&out, "\n");
        } else {
            status_table(&s, &out);
        }
        error = str_ok(&out);
        if (error != OK) {
            error = err_set(e, error, "no memory for the status");
        } else if (fwrite(out.data, 1, out.len, stdout) != out.len) {
            error = err_set(e, ERR_IO, "cannot write the status to stdout");
        }
    }
    str_free(&out);
    status_free(&s);
    return error;
}
