/* server_values.c - results that bring their payload along: scores, answers, captured sums. Each is
 * checked in form before dispatch judges it, so that what is taken can be used as it is. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/server_state.h"

#define SECONDS_MAX 1e9f /* of a job; more says nothing */

enum wire_job_kind server_wire_kind(enum job_kind kind)
{
    static const enum wire_job_kind kinds[JOB_KINDS] = {[JOB_GRADIENT] = WIRE_GRADIENT,
                                                        [JOB_SCORE] = WIRE_SCORE,
                                                        [JOB_GENERATE] = WIRE_GENERATE,
                                                        [JOB_CAPTURE] = WIRE_CAPTURE};
    CHECK(kind < JOB_KINDS);
    return kinds[kind];
}

void server_fill_result(const struct peer *peer, const struct wire_result_ready *m,
                        struct result_row rows[LIMIT_JOB_UNITS], struct dispatch_result *out)
{
    for (uint32_t i = 0; i < m->n_rows; i++) {
        rows[i] = (struct result_row){.unit = m->rows[i].unit,
                                      .loss = m->rows[i].loss,
                                      .sumsq = m->rows[i].sumsq,
                                      .labels = m->rows[i].labels};
    }
    *out = (struct dispatch_result){
        .worker = peer->worker,
        .job = m->job,
        .attempt = m->attempt,
        .n_rows = m->n_rows,
        .rows = rows,
        .compute_ns = m->seconds < SECONDS_MAX ? (uint64_t)((double)m->seconds * 1e9) : 0};
    memcpy(out->digest, m->payload_hash, sizeof out->digest);
}

static void requests_of(const struct server *s, const struct job *job,
                        const struct answer_request *requests[LIMIT_JOB_UNITS])
{
    for (uint32_t i = 0; i < job->n_units; i++) {
        requests[i] = &s->batch->requests[job->units[i]];
    }
}

struct blob *server_requests_frame(const struct server *s, const struct job *job,
                                   const struct unit *const *units)
{
    const struct answer_request *requests[LIMIT_JOB_UNITS];
    struct blob *frame = blob_new(answers_frame_bytes(units, job->n_units));
    if (frame) {
        requests_of(s, job, requests);
        answers_frame_write(units, requests, job->n_units, blob_data_mut(frame));
    }
    return frame;
}

/* Leaves of a job of the open batch, in order: what a score's payload must hold. */
static uint64_t leaves_of(const struct server *s, const struct job *job)
{
    uint64_t leaves = 0;
    for (uint32_t i = 0; i < job->n_units; i++) {
        const struct unit *unit = &s->batch->units[job->units[i]];
        for (uint32_t t = 0; t < unit->n_trees; t++) {
            leaves += unit->trees[t].n_leaves;
        }
    }
    return leaves;
}

/* What is wrong with the form of a payload; NULL: nothing. */
static const char *wrong(const struct server *s, const struct job *job,
                         const struct wire_result_ready *m, const struct blob *payload)
{
    struct errbuf why;
    struct answer_view answers[LIMIT_JOB_UNITS];
    const struct answer_request *requests[LIMIT_JOB_UNITS];
    uint8_t digest[WIRE_DIGEST_BYTES];
    if (!payload || blob_bytes(payload) != m->payload_bytes) {
        return "a result without the payload that it announces";
    }
    hash_xxh128(blob_data(payload), blob_bytes(payload), digest);
    if (memcmp(digest, m->payload_hash, sizeof digest) != 0) {
        return "a payload that does not fit its digest";
    }
    switch (m->kind) {
    case WIRE_SCORE:
        return blob_bytes(payload) == leaves_of(s, job) * 8 ? NULL : "scores of a wrong size";
    case WIRE_CAPTURE:
        return blob_bytes(payload) == s->batch->sums * 8 ? NULL : "captured sums of a wrong size";
    case WIRE_GENERATE:
        requests_of(s, job, requests);
        return answers_read(blob_data(payload), blob_bytes(payload), requests, job->n_units,
                            s->batch->vocab, answers, &why) == OK
                   ? NULL
                   : "answers that were not asked for";
    case WIRE_GRADIENT:
    case WIRE_JOB_KINDS:
    default:
        return "a result of no known kind";
    }
}

void server_on_values(struct server *s, struct peer *peer, const struct wire_result_ready *m,
                      const struct blob *payload)
{
    struct result_row rows[LIMIT_JOB_UNITS];
    struct dispatch_result result;
    const struct job *job = dispatch_job(s->dispatch, m->job);
    const char *why = job ? wrong(s, job, m, payload) : NULL;
    if (why) {
        dispatch_failed(s->dispatch, peer->worker, m->job, m->attempt, why, server_now_ns());
        server_strike(s, &peer->control, peer, why);
        return;
    }
    double *leaf = m->kind == WIRE_SCORE && job ? mem_aligned(blob_bytes(payload), 1) : NULL;
    if (m->kind == WIRE_SCORE && job && !leaf) { /* the job goes to somebody else, later */
        dispatch_release(s->dispatch, peer->worker, m->job, m->attempt, server_now_ns());
        return;
    }
    server_fill_result(peer, m, rows, &result);
    if (dispatch_result(s->dispatch, &result, server_now_ns()) == OK && job) {
        job = dispatch_job(s->dispatch, m->job);
        CHECK(job != NULL); /* it was settled just now */
        if (leaf) {
            memcpy(leaf, blob_data(payload), blob_bytes(payload)); /* aligned for what reads it */
            s->events.scores(s->events.ctx, job, leaf);
        } else {
            s->events.values(s->events.ctx, job, payload);
        }
    }
    mem_free(leaf);
}
