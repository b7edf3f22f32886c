/* sim_liars.c - members that lie: beside what a worker honestly sends, copies go out that name
 * another's session, carry another's job or a token that is not theirs, claim another attempt, or
 * name units that were not asked for, again and again, until the worker is quarantined while
 * results of it are under way. Who lies, when and how comes from a stream of its own, so that the
 * other faults of a seed stay where they were. The oracle is the usual one: bits, each unit once.
 */
#include <string.h>

#include "common/base/rng.h"
#include "common/wire/message.h"
#include "coordinator/roster.h"
#include "tests/sim/sim.h"

enum { LIES_MAX = 4, NOTES = 8, IN_A_ROW = 5 };

struct lie {
    enum sim_fault kind;
    uint64_t version;
    int worker;
    bool begun;
};

/* What a worker said last: its session, and its words about jobs. */
struct said {
    uint64_t session;
    struct wire_job_note notes[NOTES];
    uint32_t n;
};

static struct {
    struct lie lies[LIES_MAX];
    uint32_t n;
    uint64_t key, draws;
    struct said said[SIM_NODES];
} liars;

static uint64_t draw(uint64_t bound)
{
    return rng_below(liars.key, liars.draws++, bound);
}

/* Half of the seeds have one to four. */
void sim_liars_plan(void)
{
    memset(&liars, 0, sizeof liars);
    liars.key = rng_key(sim.plan.seed, 'l', 'i', 'e');
    liars.n = draw(2) == 0 ? 0 : 1 + (uint32_t)draw(LIES_MAX);
    for (uint32_t i = 0; i < liars.n; i++) {
        liars.lies[i] =
            (struct lie){.kind = (enum sim_fault)(FAULT_LIE_SESSION +
                                                  (int)draw(FAULT_KINDS - FAULT_LIE_SESSION)),
                         .version = draw(sim.plan.steps - 2),
                         .worker = 1 + (int)draw(sim.plan.workers)};
    }
}

void sim_liars_reach(uint64_t version)
{
    for (uint32_t i = 0; i < liars.n; i++) {
        struct lie *lie = &liars.lies[i];
        if (!sim.healed && !lie->begun && lie->version <= version) {
            lie->begun = true;
            /* Of the last kind enough for a quarantine. */
            uint32_t least = lie->kind == FAULT_LIE_UNITS ? ROSTER_STRIKES : 1;
            sim.nodes[lie->worker].wrong[lie->kind] += least + (uint32_t)draw(IN_A_ROW);
        }
    }
}

static void remember(struct said *s, uint64_t session, const struct wire_job_note *note)
{
    if (session != s->session) {
        *s = (struct said){.session = session};
    }
    if (note) {
        s->notes[s->n++ % NOTES] = *note;
    }
}

/* Something another worker said: false when nobody did. */
static bool anothers(int worker, struct said *out)
{
    uint64_t from = draw(SIM_NODES);
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        int other = (int)((from + i) % SIM_NODES);
        if (other != 0 && other != worker && liars.said[other].session != 0) {
            *out = liars.said[other];
            return true;
        }
    }
    return false;
}

/* The three fields of the kinds that are about a job, wherever they lie; NULL for others. */
static bool about_a_job(struct wire_message *m, uint64_t **job, uint32_t **attempt, uint8_t **token)
{
    if (m->kind == WIRE_RESULT_READY) {
        *job = &m->result_ready.job;
        *attempt = &m->result_ready.attempt;
        *token = m->result_ready.token;
        return true;
    }
    *job = &m->job_note.job;
    *attempt = &m->job_note.attempt;
    *token = m->job_note.token;
    return m->kind == WIRE_RESULT || m->kind == WIRE_RELEASE || m->kind == WIRE_FAILED;
}

static bool name_session(struct wire_message *m, uint64_t session)
{
    switch ((int)m->kind) {
    case WIRE_REQUEST:
        m->request.session = session;
        return true;
    case WIRE_HEARTBEAT:
        m->heartbeat.session = session;
        return true;
    case WIRE_RESULT_READY:
        m->result_ready.session = session;
        return true;
    case WIRE_FAILED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        m->job_note.session = session;
        return true;
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        m->note.session = session;
        return true;
    case WIRE_PROBE:
        m->probe.session = session;
        return true;
    case WIRE_FETCH:
        m->params.session = session;
        return true;
    default:
        return false;
    }
}

/* Turns the message into the lie; false: it cannot be told with this message. */
static bool twist(enum sim_fault kind, int worker, struct wire_message *m)
{
    uint64_t *job;
    uint32_t *attempt;
    uint8_t *token;
    struct said other;
    bool about = about_a_job(m, &job, &attempt, &token);
    switch ((int)kind) {
    case FAULT_LIE_SESSION: /* on the control channel with all that belongs to it */
        if (!anothers(worker, &other) || !name_session(m, other.session)) {
            return false;
        }
        if (about && m->kind != WIRE_RESULT && other.n > 0) {
            const struct wire_job_note *note = &other.notes[(other.n - 1) % NOTES];
            *job = note->job;
            *attempt = note->attempt;
            memcpy(token, note->token, WIRE_TOKEN_BYTES);
        }
        return true;
    case FAULT_LIE_TOKEN: /* another's job with the own token, or the own job with a wrong one */
        if (!about) {
            return false;
        }
        if (draw(2) == 0 && anothers(worker, &other) && other.n > 0) {
            const struct wire_job_note *note =
                &other.notes[draw(other.n < NOTES ? other.n : NOTES)];
            *job = note->job;
            *attempt = note->attempt;
        } else {
            token[draw(WIRE_TOKEN_BYTES)] ^= (uint8_t)(1u << draw(8));
        }
        return true;
    case FAULT_LIE_ATTEMPT:
        if (about) {
            *attempt += draw(2) == 0 ? 1 : UINT32_MAX;
        }
        return about && *attempt != 0;
    default: /* FAULT_LIE_UNITS */
        if (m->kind == WIRE_RESULT_READY && m->result_ready.n_rows > 0) {
            m->result_ready.rows[draw(m->result_ready.n_rows)].unit ^= 1;
            return true;
        }
        return false;
    }
}

bool sim_liars_copy(int worker, const uint8_t *header, size_t bytes,
                    uint8_t copy[LIMIT_HEADER_BYTES], size_t *copy_bytes)
{
    struct wire_message m;
    if (liars.n == 0 || wire_decode(header, bytes, &m, NULL) != OK || m.kind == WIRE_HELLO) {
        return false;
    }
    uint64_t *job;
    uint32_t *attempt;
    uint8_t *token;
    bool about = about_a_job(&m, &job, &attempt, &token);
    struct wire_job_note note = {0};
    if (about) {
        note.job = *job;
        note.attempt = *attempt;
        memcpy(note.token, token, sizeof note.token);
    }
    remember(&liars.said[worker], wire_session_of(&m), about ? &note : NULL);
    for (int k = FAULT_LIE_SESSION; !sim.healed && k < FAULT_KINDS; k++) {
        uint32_t *left = &sim.nodes[worker].wrong[k];
        if (*left > 0 && twist((enum sim_fault)k, worker, &m)) {
            (*left)--;
            sim_count((enum sim_fault)k);
            sim_trace("LIE %s: %s", sim_fault_name((enum sim_fault)k), wire_kind_name(m.kind));
            wire_encode(&m, copy, copy_bytes);
            return true;
        }
    }
    return false;
}
