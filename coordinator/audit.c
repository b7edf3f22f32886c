/* audit.c - a keyed hash per unit, and a record per worker name. */
#include "coordinator/audit.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/roster.h"

static_assert(AUDIT_SECRET_BYTES == crypto_shorthash_KEYBYTES, "the secret is a key of SipHash");

enum purpose { CHOICE, WHOLE };

struct record {
    char name[ROSTER_NAME_BYTES];
    uint64_t worker; /* its last session */
    uint64_t since;  /* first step that holds an unproven result; AUDIT_NEVER: none does */
    uint64_t good;   /* step of its last good audit */
    bool lost;
};

struct audit {
    double rate;
    uint8_t secret[AUDIT_SECRET_BYTES];
    struct record records[AUDIT_RECORDS];
    uint32_t n_records, next_record;
    uint32_t places[LIMIT_WORKERS]; /* by the low bits of a worker's id: its record */
};

enum err audit_new(double rate, const uint8_t secret[AUDIT_SECRET_BYTES], struct audit **out)
{
    struct audit *a = mem_calloc(1, sizeof *a);
    if (!a) {
        return ERR_NOMEM;
    }
    a->rate = rate;
    memcpy(a->secret, secret, sizeof a->secret);
    *out = a;
    return OK;
}

void audit_free(struct audit **a)
{
    mem_free(*a);
    *a = NULL;
}

bool audit_on(const struct audit *a)
{
    return a->rate > 0.0;
}

/* A number in [0, 1) that only the holder of the secret can tell. */
static double draw(const struct audit *a, uint64_t unit, enum purpose purpose)
{
    uint8_t in[9];
    uint8_t out[crypto_shorthash_BYTES];
    bytes_put_u64(in, unit);
    in[8] = (uint8_t)purpose;
    CHECK(crypto_shorthash(out, in, sizeof in, a->secret) == 0);
    return (double)(bytes_get_u64(out) >> 11) * 0x1p-53;
}

bool audit_samples(const struct audit *a, uint64_t unit)
{
    return draw(a, unit, CHOICE) < a->rate;
}

uint32_t audit_alone(const struct audit *a, const uint64_t *units, uint32_t n)
{
    uint32_t i = 0;
    if (n == 1 || a->rate >= 1.0) {
        return n; /* every list is repeated: shorter ones would gain nothing */
    }
    while (i < n && !(audit_samples(a, units[i]) && draw(a, units[i], WHOLE) * 2.0 * n >= 1.0)) {
        i++;
    }
    return i;
}

static struct record *find(const struct audit *a, uint64_t worker)
{
    uint64_t index = worker & 0xFFFF;
    uint32_t at = index < LIMIT_WORKERS ? a->places[index] : AUDIT_RECORDS;
    return at < a->n_records && a->records[at].worker == worker ? (struct record *)&a->records[at]
                                                                : NULL;
}

uint64_t audit_joined(struct audit *a, uint64_t worker, const char *name)
{
    uint32_t at = 0;
    CHECK((worker & 0xFFFF) < LIMIT_WORKERS);
    while (at < a->n_records &&
           strncmp(a->records[at].name, name, sizeof a->records[at].name - 1) != 0) {
        at++;
    }
    if (at == a->n_records) {
        at = a->n_records < AUDIT_RECORDS ? a->n_records++ : a->next_record++ % AUDIT_RECORDS;
        a->records[at] = (struct record){.since = AUDIT_NEVER, .good = AUDIT_NEVER};
        (void)snprintf(a->records[at].name, sizeof a->records[at].name, "%s", name);
    }
    uint64_t before = a->records[at].worker;
    a->records[at].worker = worker;
    a->places[worker & 0xFFFF] = at;
    return before;
}

void audit_counted(struct audit *a, uint64_t worker, uint64_t step)
{
    struct record *r = find(a, worker);
    if (r) {
        r->since = r->since < step ? r->since : step;
    }
}

void audit_passed(struct audit *a, uint64_t worker, uint64_t step)
{
    struct record *r = find(a, worker);
    if (r) {
        r->since = AUDIT_NEVER;
        r->good = step;
    }
}

void audit_lost(struct audit *a, uint64_t worker)
{
    struct record *r = find(a, worker);
    if (r) {
        r->lost = true;
    }
}

bool audit_distrusts(const struct audit *a, uint64_t worker)
{
    const struct record *r = find(a, worker);
    return audit_on(a) && r && r->lost;
}

bool audit_suspects(const struct audit *a, uint64_t worker, uint64_t open,
                    struct audit_suspects *out)
{
    const struct record *r = find(a, worker);
    if (!r || r->since >= open) {
        return false;
    }
    *out = (struct audit_suspects){.from = r->since, .to = open - 1, .good = r->good};
    return true;
}

void audit_dump(const struct audit *a, struct str *out)
{
    for (uint32_t i = 0; i < a->n_records; i++) {
        const struct record *r = &a->records[i];
        if (r->since != AUDIT_NEVER || r->good != AUDIT_NEVER || r->lost) {
            str_addf(out, "%s %" PRIu64 " %" PRIu64 " %d\n", r->name, r->since, r->good, r->lost);
        }
    }
}

enum err audit_load(struct audit *a, const char *text)
{
    static_assert(ROSTER_NAME_BYTES == 64, "the width below is that of a name");
    for (const char *line = text; *line != '\0' && a->n_records < AUDIT_RECORDS;) {
        struct record r = {.worker = 0};
        int lost = 0;
        int used = 0;
        if (sscanf(line, "%63s %" SCNu64 " %" SCNu64 " %d%n", r.name, &r.since, &r.good, &lost,
                   &used) != 4 ||
            line[used] != '\n' || lost < 0 || lost > 1) {
            return ERR_PARSE;
        }
        r.lost = lost == 1;
        a->records[a->n_records++] = r;
        line += used + 1;
    }
    return OK;
}

void audit_go_back(struct audit *a, uint64_t step)
{
    for (uint32_t i = 0; i < a->n_records; i++) {
        struct record *r = &a->records[i];
        r->since = r->since < step ? r->since : AUDIT_NEVER;
        r->good = r->good < step ? r->good : AUDIT_NEVER;
    }
}
