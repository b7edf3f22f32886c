/* roster.c - sessions in a table (id = serial << 16 | index), a line by last sign of life, a line
 * of waiting slots. Times are kept "less all shifts", as in lease.c. */
#include "coordinator/roster.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

#define NONE UINT32_MAX
#define RATE_WINDOW_NS 30000000000ull

static_assert(LIMIT_WORKERS <= 1 << 16, "a worker's index fits the low half of its id");

struct record { /* strikes of a name */
    char name[ROSTER_NAME_BYTES];
    uint32_t strikes, quarantines;
    uint64_t until_ns; /* end of its quarantine; 0 = none */
};

struct roster {
    struct worker *table[LIMIT_WORKERS];
    uint32_t dense[LIMIT_WORKERS]; /* indices of the entered ones */
    uint32_t n;
    uint64_t serial;
    uint64_t shift_ns;
    uint32_t first_heard, last_heard; /* line by heard_ns, longest silent first */
    uint32_t wait_worker, wait_slot;  /* head of the waiting slots */
    uint32_t wait_last_worker, wait_last_slot;
    uint32_t n_waiting, ready, ready_slots, quarantined;
    struct record records[ROSTER_RECORDS];
    uint32_t n_records, next_record;
};

enum err roster_new(struct roster **out)
{
    struct roster *r = mem_calloc(1, sizeof *r);
    if (!r) {
        return ERR_NOMEM;
    }
    r->first_heard = NONE;
    r->last_heard = NONE;
    r->wait_worker = NONE;
    r->wait_last_worker = NONE;
    *out = r;
    return OK;
}

void roster_free(struct roster **r)
{
    if (*r) {
        for (uint32_t i = 0; i < (*r)->n; i++) {
            struct worker *w = (*r)->table[(*r)->dense[i]];
            mem_free(w->slots);
            mem_free(w);
        }
        mem_free(*r);
        *r = NULL;
    }
}

struct worker *roster_get(const struct roster *r, uint64_t id)
{
    uint32_t index = (uint32_t)(id & 0xFFFF);
    struct worker *w = index < LIMIT_WORKERS ? r->table[index] : NULL;
    return w && w->id == id ? w : NULL;
}

const struct worker *roster_at(const struct roster *r, uint32_t i)
{
    CHECK(i < r->n);
    return r->table[r->dense[i]];
}

static void leave_heard(struct roster *r, struct worker *w)
{
    *(w->prev == NONE ? &r->first_heard : &r->table[w->prev]->next) = w->next;
    *(w->next == NONE ? &r->last_heard : &r->table[w->next]->prev) = w->prev;
}

static void join_heard(struct roster *r, struct worker *w, uint64_t now_ns)
{
    w->heard_ns = now_ns - r->shift_ns;
    w->prev = r->last_heard;
    w->next = NONE;
    *(w->prev == NONE ? &r->first_heard : &r->table[w->prev]->next) = w->index;
    r->last_heard = w->index;
}

static void leave_counts(struct roster *r, const struct worker *w)
{
    if (w->state == WORKER_READY) {
        r->ready--;
        r->ready_slots -= w->n_slots;
    }
    r->quarantined -= w->state == WORKER_QUARANTINED;
}

/* allowed[from][to]: the arrows of roster.h, to GONE left out. */
static const bool allowed[WORKER_STATES][WORKER_STATES] = {
    [WORKER_PROBING] =
        {[WORKER_READY] = true, [WORKER_DRAINING] = true, [WORKER_QUARANTINED] = true},
    [WORKER_READY] =
        {[WORKER_PROBING] = true, [WORKER_DRAINING] = true, [WORKER_QUARANTINED] = true},
    [WORKER_DRAINING] = {[WORKER_QUARANTINED] = true},
    [WORKER_QUARANTINED] = {[WORKER_PROBING] = true},
};

/* The one place that changes a worker's state: counts and proof follow it. What it proved is good
 * while it is READY and for the jobs it still has when it drains. */
static void become(struct roster *r, struct worker *w, enum worker_state state)
{
    CHECK(allowed[w->state][state]);
    leave_counts(r, w);
    w->proven = state == WORKER_READY || (state == WORKER_DRAINING && w->proven);
    w->state = state;
    if (state == WORKER_READY) {
        r->ready++;
        r->ready_slots += w->n_slots;
    }
    r->quarantined += state == WORKER_QUARANTINED;
}

static struct record *find_record(struct roster *r, const char *name, bool make)
{
    for (uint32_t i = 0; i < r->n_records; i++) {
        if (strcmp(r->records[i].name, name) == 0) {
            return &r->records[i];
        }
    }
    if (!make) {
        return NULL;
    }
    uint32_t at =
        r->n_records < ROSTER_RECORDS ? r->n_records++ : r->next_record++ % ROSTER_RECORDS;
    r->records[at] = (struct record){0};
    (void)snprintf(r->records[at].name, sizeof r->records[at].name, "%s", name);
    return &r->records[at];
}

static struct worker *find_name(const struct roster *r, const char *name)
{
    for (uint32_t i = 0; i < r->n; i++) {
        struct worker *w = r->table[r->dense[i]];
        if (strncmp(w->name, name, ROSTER_NAME_BYTES - 1) == 0) {
            return w;
        }
    }
    return NULL;
}

static enum err enter(struct roster *r, const struct roster_hello *hello, uint64_t now_ns,
                      uint64_t *id)
{
    uint32_t index = 0;
    while (index < LIMIT_WORKERS && r->table[index]) {
        index++;
    }
    if (index == LIMIT_WORKERS) {
        return ERR_FULL;
    }
    struct worker *w = mem_calloc(1, sizeof *w);
    struct roster_slot *slots = mem_calloc(hello->slots, sizeof *slots);
    if (!w || !slots) {
        mem_free(w);
        mem_free(slots);
        return ERR_NOMEM;
    }
    *w = (struct worker){.id = ++r->serial << 16 | index,
                         .epoch = hello->epoch,
                         .n_slots = hello->slots,
                         .slots = slots,
                         .joined_ns = now_ns - r->shift_ns,
                         .index = index};
    (void)snprintf(w->name, sizeof w->name, "%s", hello->name);
    (void)snprintf(w->host, sizeof w->host, "%s", hello->host ? hello->host : "");
    (void)snprintf(w->core_type, sizeof w->core_type, "%s",
                   hello->core_type ? hello->core_type : "");
    r->table[index] = w;
    r->dense[r->n++] = index;
    join_heard(r, w, now_ns);
    const struct record *record = find_record(r, w->name, false);
    if (record) {
        w->strikes = record->strikes;
        if (record->until_ns > now_ns - r->shift_ns) {
            w->quarantine_until_ns = record->until_ns;
            become(r, w, WORKER_QUARANTINED);
        }
    }
    *id = w->id;
    return OK;
}

enum err roster_hello(struct roster *r, const struct roster_hello *hello, uint64_t now_ns,
                      uint64_t *id, uint64_t *replaced, struct errbuf *e)
{
    *replaced = 0;
    if (!hello->name || hello->name[0] == '\0') {
        return err_set(e, ERR_RANGE, "the worker has no name");
    }
    if (hello->slots == 0 || hello->slots > LIMIT_SLOTS) {
        return err_set(e, ERR_RANGE, "the worker offers %u slots; 1 to %d are possible (--slots)",
                       hello->slots, LIMIT_SLOTS);
    }
    struct worker *old = find_name(r, hello->name);
    if (old && old->epoch == hello->epoch) {
        roster_heard(r, old->id, now_ns);
        *id = old->id;
        return OK;
    }
    if (old && old->epoch > hello->epoch) {
        return err_set(e, ERR_STALE, "worker %s has a newer session", old->name);
    }
    enum err error = enter(r, hello, now_ns, id);
    if (error == ERR_FULL) {
        return err_set(e, error, "there are %d workers already, the most a run takes",
                       LIMIT_WORKERS);
    }
    *replaced = error == OK && old ? old->id : 0;
    return error;
}

void roster_remove(struct roster *r, uint64_t id)
{
    struct worker *w = roster_get(r, id);
    if (!w) {
        return;
    }
    for (uint32_t s = 0; s < w->n_slots; s++) {
        roster_free_slot(r, id, s);
    }
    leave_counts(r, w);
    leave_heard(r, w);
    r->table[w->index] = NULL;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->dense[i] == w->index) {
            r->dense[i] = r->dense[--r->n];
            break;
        }
    }
    mem_free(w->slots);
    mem_free(w);
}

void roster_heard(struct roster *r, uint64_t id, uint64_t now_ns)
{
    struct worker *w = roster_get(r, id);
    if (w) {
        leave_heard(r, w);
        join_heard(r, w, now_ns);
    }
}

void roster_ready(struct roster *r, uint64_t id, bool marked)
{
    struct worker *w = roster_get(r, id);
    if (w && w->state == WORKER_PROBING) {
        w->marked = marked;
        w->asked_ns = w->heard_ns; /* it will ask at once */
        become(r, w, WORKER_READY);
    }
}

void roster_reprobe(struct roster *r, uint64_t id)
{
    struct worker *w = roster_get(r, id);
    if (w && w->state == WORKER_READY) {
        become(r, w, WORKER_PROBING);
    }
}

void roster_drain(struct roster *r, uint64_t id)
{
    struct worker *w = roster_get(r, id);
    if (w) {
        w->leaving = true;
        if (allowed[w->state][WORKER_DRAINING]) {
            become(r, w, WORKER_DRAINING);
        }
    }
}

void roster_slow(struct roster *r, uint64_t id, bool slow)
{
    struct worker *w = roster_get(r, id);
    if (w) {
        w->slow = slow;
    }
}

bool roster_strike(struct roster *r, uint64_t id, bool certain, uint64_t now_ns)
{
    struct worker *w = roster_get(r, id);
    if (!w) {
        return false;
    }
    struct record *record = find_record(r, w->name, true);
    record->strikes++;
    w->strikes = record->strikes;
    if (w->state == WORKER_QUARANTINED || (record->strikes < ROSTER_STRIKES && !certain)) {
        return false;
    }
    uint64_t length = ROSTER_QUARANTINE_NS;
    for (uint32_t i = 0; i < record->quarantines && length < ROSTER_QUARANTINE_MAX_NS; i++) {
        length *= 2;
    }
    length = length < ROSTER_QUARANTINE_MAX_NS ? length : ROSTER_QUARANTINE_MAX_NS;
    record->quarantines++;
    record->strikes = 0;
    record->until_ns = now_ns - r->shift_ns + length;
    w->quarantine_until_ns = record->until_ns;
    become(r, w, WORKER_QUARANTINED);
    return true;
}

uint64_t roster_silent(const struct roster *r, uint64_t now_ns)
{
    if (r->first_heard == NONE) {
        return 0;
    }
    const struct worker *w = r->table[r->first_heard];
    return w->heard_ns + ROSTER_SILENCE_NS <= now_ns - r->shift_ns ? w->id : 0;
}

uint64_t roster_released(struct roster *r, uint64_t now_ns)
{
    for (uint32_t i = 0; r->quarantined > 0 && i < r->n; i++) {
        struct worker *w = r->table[r->dense[i]];
        if (w->state == WORKER_QUARANTINED && w->quarantine_until_ns <= now_ns - r->shift_ns) {
            become(r, w, WORKER_PROBING);
            return w->id;
        }
    }
    return 0;
}

uint64_t roster_sleep_ns(const struct roster *r, uint64_t now_ns)
{
    uint64_t now = now_ns - r->shift_ns;
    uint64_t next = UINT64_MAX;
    if (r->first_heard != NONE) {
        next = r->table[r->first_heard]->heard_ns + ROSTER_SILENCE_NS;
    }
    for (uint32_t i = 0; r->quarantined > 0 && i < r->n; i++) {
        const struct worker *w = r->table[r->dense[i]];
        if (w->state == WORKER_QUARANTINED && w->quarantine_until_ns < next) {
            next = w->quarantine_until_ns;
        }
    }
    return next == UINT64_MAX ? next : next > now ? next - now : 0;
}

uint64_t roster_silence_ns(const struct roster *r, const struct worker *w, uint64_t now_ns)
{
    uint64_t now = now_ns - r->shift_ns;
    return now > w->heard_ns ? now - w->heard_ns : 0;
}

void roster_asked(struct roster *r, uint64_t id, uint64_t now_ns)
{
    struct worker *w = roster_get(r, id);
    if (w) {
        w->asked_ns = now_ns - r->shift_ns;
    }
}

bool roster_asks(const struct roster *r, const struct worker *w, uint64_t now_ns)
{
    return w->state == WORKER_READY &&
           (w->busy > 0 || w->asked_ns + ROSTER_ASKS_NS > now_ns - r->shift_ns);
}

void roster_shift(struct roster *r, uint64_t lost_ns)
{
    r->shift_ns += lost_ns;
}

/* Takes a slot out of the waiting line. */
static void leave_waiting(struct roster *r, struct worker *w, uint32_t slot)
{
    struct roster_slot *s = &w->slots[slot];
    if (s->state != SLOT_WAITING) {
        return;
    }
    if (s->prev_worker == NONE) {
        r->wait_worker = s->next_worker;
        r->wait_slot = s->next_slot;
    } else {
        struct roster_slot *before = &r->table[s->prev_worker]->slots[s->prev_slot];
        before->next_worker = s->next_worker;
        before->next_slot = s->next_slot;
    }
    if (s->next_worker == NONE) {
        r->wait_last_worker = s->prev_worker;
        r->wait_last_slot = s->prev_slot;
    } else {
        struct roster_slot *after = &r->table[s->next_worker]->slots[s->next_slot];
        after->prev_worker = s->prev_worker;
        after->prev_slot = s->prev_slot;
    }
    s->state = SLOT_IDLE;
    r->n_waiting--;
}

void roster_wait(struct roster *r, uint64_t id, uint32_t slot, uint64_t request)
{
    struct worker *w = roster_get(r, id);
    CHECK(w && slot < w->n_slots);
    roster_free_slot(r, id, slot);
    struct roster_slot *s = &w->slots[slot];
    s->state = SLOT_WAITING;
    s->request = request;
    s->next_worker = NONE;
    s->prev_worker = r->wait_last_worker;
    s->prev_slot = r->wait_last_slot;
    if (s->prev_worker == NONE) {
        r->wait_worker = w->index;
        r->wait_slot = slot;
    } else {
        struct roster_slot *before = &r->table[s->prev_worker]->slots[s->prev_slot];
        before->next_worker = w->index;
        before->next_slot = slot;
    }
    r->wait_last_worker = w->index;
    r->wait_last_slot = slot;
    r->n_waiting++;
}

/* The first slot from (worker, slot) on whose worker may work. */
static bool first_from(const struct roster *r, uint32_t worker, uint32_t slot, uint64_t *id,
                       uint32_t *out)
{
    while (worker != NONE) {
        const struct worker *w = r->table[worker];
        if (w->state == WORKER_READY && !w->slow) {
            *id = w->id;
            *out = slot;
            return true;
        }
        const struct roster_slot *s = &w->slots[slot];
        worker = s->next_worker;
        slot = s->next_slot;
    }
    return false;
}

bool roster_first(const struct roster *r, uint64_t *id, uint32_t *slot)
{
    return first_from(r, r->wait_worker, r->wait_slot, id, slot);
}

bool roster_after(const struct roster *r, uint64_t *id, uint32_t *slot)
{
    const struct worker *w = roster_get(r, *id);
    CHECK(w && w->slots[*slot].state == SLOT_WAITING);
    const struct roster_slot *s = &w->slots[*slot];
    return first_from(r, s->next_worker, s->next_slot, id, slot);
}

void roster_hold(struct roster *r, uint64_t id, uint32_t slot, uint64_t job, uint32_t attempt,
                 uint32_t lease)
{
    struct worker *w = roster_get(r, id);
    CHECK(w && slot < w->n_slots);
    leave_waiting(r, w, slot);
    CHECK(w->slots[slot].state == SLOT_IDLE);
    w->slots[slot].state = SLOT_BUSY;
    w->slots[slot].job = job;
    w->slots[slot].attempt = attempt;
    w->slots[slot].lease = lease;
    w->busy++;
}

void roster_free_slot(struct roster *r, uint64_t id, uint32_t slot)
{
    struct worker *w = roster_get(r, id);
    CHECK(w && slot < w->n_slots);
    leave_waiting(r, w, slot);
    if (w->slots[slot].state == SLOT_BUSY) {
        w->busy--;
        w->slots[slot].state = SLOT_IDLE;
    }
}

void roster_done(struct roster *r, uint64_t id, uint32_t units, uint64_t tokens, uint64_t now_ns)
{
    struct worker *w = roster_get(r, id);
    if (!w) {
        return;
    }
    uint64_t now = now_ns - r->shift_ns;
    w->units_done += units;
    w->tokens_done += tokens;
    if (w->rate_from_ns == 0) {
        w->rate_from_ns = w->joined_ns;
    }
    w->rate_tokens += tokens;
    uint64_t length = now > w->rate_from_ns ? now - w->rate_from_ns : 0;
    w->tokens_per_s = length ? (double)w->rate_tokens * 1e9 / (double)length : 0.0;
    if (length > RATE_WINDOW_NS) {
        w->rate_from_ns += length / 2;
        w->rate_tokens /= 2;
    }
}

void roster_computed(struct roster *r, uint64_t id, uint64_t computed_ms, uint64_t now_ns)
{
    struct worker *w = roster_get(r, id);
    if (w && (w->state == WORKER_READY || w->state == WORKER_DRAINING)) {
        utilisation_note(&w->utilisation, computed_ms, now_ns);
    }
}

uint32_t roster_count(const struct roster *r)
{
    return r->n;
}

uint32_t roster_ready_count(const struct roster *r)
{
    return r->ready;
}

uint32_t roster_ready_slots(const struct roster *r)
{
    return r->ready_slots;
}

uint32_t roster_waiting_slots(const struct roster *r)
{
    return r->n_waiting;
}

const char *worker_state_name(enum worker_state state)
{
    switch (state) {
    case WORKER_PROBING:
        return "probing";
    case WORKER_READY:
        return "ready";
    case WORKER_DRAINING:
        return "draining";
    case WORKER_QUARANTINED:
        return "quarantined";
    }
    return "unknown";
}
