/* sim_desk.c - mailboxes and desks without threads: what a desk does is done at one moment, some
 * time after it was asked for, and what it reports reaches the loop a little later. */
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/net/desk.h"
#include "common/net/mailbox.h"
#include "tests/sim/sim.h"

enum { MAILBOXES = 4 };

struct mailbox {
    struct letter *first, *last;
    size_t count, limit;
    int node;
    bool stopped, due;
    void (*ready)(void *ctx);
    void *ctx;
};

struct desk {
    struct mailbox *letters;
    desk_handle handle;
    void *ctx;
    int node;
    bool working; /* an event will handle the first letter */
};

static struct mailbox *attached[SIM_NODES][MAILBOXES];

enum err mailbox_open(size_t limit, struct mailbox **out)
{
    struct mailbox *m = mem_calloc(1, sizeof *m);
    if (!m) {
        return ERR_NOMEM;
    }
    m->limit = limit;
    m->node = sim.here;
    *out = m;
    return OK;
}

enum err mailbox_attach(struct mailbox *m, struct uv_loop_s *loop, void (*ready)(void *ctx),
                        void *ctx)
{
    (void)loop;
    m->ready = ready;
    m->ctx = ctx;
    for (int i = 0; i < MAILBOXES; i++) {
        if (!attached[m->node][i]) {
            attached[m->node][i] = m;
            return OK;
        }
    }
    return ERR_FULL;
}

static void become_due(void *ctx, uint64_t a)
{
    struct mailbox *m = ctx;
    (void)a;
    m->due = true;
    sim_turn_by(m->node, sim.now);
}

enum err mailbox_post(struct mailbox *m, struct letter *letter)
{
    if (m->stopped || m->count == m->limit) {
        return m->stopped ? ERR_GONE : ERR_FULL;
    }
    letter->next = NULL;
    *(m->last ? &m->last->next : &m->first) = letter;
    m->last = letter;
    m->count++;
    if (m->ready) {
        sim_at(sim.now + sim_below(SIM_MS), m->node, sim.nodes[m->node].life, become_due, m, 0);
    }
    return OK;
}

struct letter *mailbox_take(struct mailbox *m)
{
    struct letter *letter = m->first;
    if (letter) {
        m->first = letter->next;
        m->last = m->first ? m->last : NULL;
        letter->next = NULL;
        m->count--;
    }
    return letter;
}

void mailbox_close(struct mailbox **mailbox)
{
    struct mailbox *m = *mailbox;
    *mailbox = NULL;
    if (!m) {
        return;
    }
    for (int i = 0; i < MAILBOXES; i++) {
        attached[m->node][i] = attached[m->node][i] == m ? NULL : attached[m->node][i];
    }
    for (struct letter *l = mailbox_take(m); l; l = mailbox_take(m)) {
        l->drop(l);
    }
    mem_free(m);
}

bool sim_mailboxes_ready(int node)
{
    bool any = false;
    for (int i = 0; i < MAILBOXES; i++) {
        struct mailbox *m = attached[node][i];
        if (m && m->due && !sim.nodes[node].dead) {
            m->due = false;
            any = true;
            m->ready(m->ctx);
        }
    }
    return any;
}

static void work(void *ctx, uint64_t a);

static void work_after(struct desk *d, uint64_t ns)
{
    d->working = true;
    sim_at(sim.now + ns, d->node, sim.nodes[d->node].life, work, d, 0);
}

/* The end of the first letter's handling. */
static void work(void *ctx, uint64_t a)
{
    struct desk *d = ctx;
    struct letter *letter = d->letters->first;
    (void)a;
    d->working = false;
    if (!letter) {
        return;
    }
    uint32_t again = d->handle(d->ctx, letter, false);
    if (sim.nodes[d->node].dead) {
        return;
    }
    if (again > 0) {
        work_after(d, again * SIM_MS);
        return;
    }
    CHECK(mailbox_take(d->letters) == letter);
    letter->drop(letter);
    if (d->letters->first) {
        work_after(d, sim_disk_delay());
    }
}

enum err desk_open(size_t limit, desk_handle handle, void *ctx, struct desk **out)
{
    struct desk *d = mem_calloc(1, sizeof *d);
    if (!d) {
        return ERR_NOMEM;
    }
    d->handle = handle;
    d->ctx = ctx;
    d->node = sim.here;
    enum err error = mailbox_open(limit, &d->letters);
    if (error != OK) {
        mem_free(d);
        return error;
    }
    *out = d;
    return OK;
}

enum err desk_post(struct desk *d, struct letter *letter)
{
    enum err error = mailbox_post(d->letters, letter);
    if (error != OK) {
        letter->drop(letter);
    } else if (!d->working) {
        work_after(d, sim_disk_delay());
    }
    return error;
}

void desk_close(struct desk **desk)
{
    struct desk *d = *desk;
    *desk = NULL;
    if (!d) {
        return;
    }
    while (!sim.nodes[d->node].dead && d->letters->first) {
        struct letter *letter = mailbox_take(d->letters);
        while (d->handle(d->ctx, letter, true) > 0) {
        }
        letter->drop(letter);
    }
    mailbox_close(&d->letters);
    mem_free(d);
}
