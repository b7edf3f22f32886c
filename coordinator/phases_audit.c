/* phases_audit.c - what audits found, kept for the status, the report and a later start. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/phases_state.h"

void phases_audit_open(struct phases *p)
{
    const struct str *known = &p->start->suspects;
    const struct str *audits = &p->start->audits;
    p->suspect_from = UINT64_MAX;
    if (known->len > 0) {
        char *text = NULL;
        p->suspect_from = strtoull(known->data, &text, 10);
        (void)snprintf(p->suspects, sizeof p->suspects, "%s", text[0] == ' ' ? text + 1 : text);
    }
    if (audits->len > 0) {
        str_append(&p->audits, audits->data, audits->len);
    }
}

static bool keep(struct phases *p, enum err error)
{
    p->writes += error == OK;
    if (error != OK) {
        phases_fail(p, "no memory for what audits found");
    }
    return error == OK;
}

/* The earliest of several is what one must go back before. */
void phases_suspect(void *ctx, uint64_t from, uint64_t to, const char *text)
{
    struct phases *p = ctx;
    char value[WIRE_TEXT_BYTES + 24];
    (void)to;
    if (!keep(p, scribe_event(p->scribe, "suspect_steps", text)) || from >= p->suspect_from) {
        return;
    }
    p->suspect_from = from;
    (void)snprintf(p->suspects, sizeof p->suspects, "%s", text);
    (void)snprintf(value, sizeof value, "%" PRIu64 " %s", from, text);
    (void)keep(p, scribe_meta(p->scribe, "suspects", value));
}

void phases_keep_audits(struct phases *p)
{
    struct str now = {0};
    server_audit_book(p->server, &now);
    bool changed =
        now.len > 0 && (now.len != p->audits.len || memcmp(now.data, p->audits.data, now.len) != 0);
    if (changed && str_ok(&now) == OK && keep(p, scribe_meta(p->scribe, "audits", now.data))) {
        str_free(&p->audits);
        p->audits = now;
    } else {
        str_free(&now);
    }
}
