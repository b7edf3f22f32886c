/* message.h - every message between a coordinator and its workers as a plain struct, and its bytes.
 * Owns: struct wire_message, encode, decode, the range checks. Never: sockets, payload frames,
 * what a message means. Place: net hands frame 0 in, the shells and the agent see structs only.
 * A decoded message holds no pointer: copy it, keep it, hand it to another thread. */
#ifndef PFT_MESSAGE_H
#define PFT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"

/* proto/README.md says when it changes. */
enum { WIRE_PROTOCOL = 5 };

enum {
    WIRE_NAME_BYTES = 64,  /* worker, run, levels, core type: with the NUL */
    WIRE_HOST_BYTES = 256, /* host names */
    WIRE_ADDRESS_BYTES = 256,
    WIRE_HASH_HEX = 65,
    WIRE_DIGEST_BYTES = 16,
    WIRE_DIGEST_HEX = 33,
    WIRE_TOKEN_BYTES = 16,
    WIRE_TEXT_BYTES = 1024, /* sentences for people */
};

enum wire_kind {
    WIRE_NONE,
    WIRE_HELLO,
    WIRE_WELCOME,
    WIRE_REFUSED,
    WIRE_PROBE,
    WIRE_READY,
    WIRE_REQUEST,
    WIRE_JOB,
    WIRE_HEARTBEAT,
    WIRE_PONG,
    WIRE_RESULT_READY,
    WIRE_FAILED,
    WIRE_SEND,
    WIRE_ACK,
    WIRE_STALE,
    WIRE_REJECTED,
    WIRE_RELEASE,
    WIRE_DRAIN,
    WIRE_GOODBYE,
    WIRE_ATTACH,
    WIRE_FETCH,
    WIRE_PARAMS,
    WIRE_RESULT,
    WIRE_REPROBE,
    WIRE_KINDS,
};

/* note.code of WIRE_REFUSED */
enum wire_refusal {
    WIRE_REFUSED_PROTOCOL = 1,
    WIRE_REFUSED_MODEL,
    WIRE_REFUSED_SHAPE,
    WIRE_REFUSED_KERNELS,
    WIRE_REFUSED_PROBE,
    WIRE_REFUSED_FULL,
    WIRE_REFUSED_QUARANTINE,
    WIRE_REFUSED_SESSION, /* the session is unknown: say hello again */
    WIRE_REFUSED_STALE,   /* a newer connection of that name is known */
    WIRE_REFUSED_STATE, /* between two tasks or ending: retry_ms says when to come back, 0: drained
                         */
    WIRE_REFUSED_KEY,   /* its key was revoked */
    WIRE_REFUSALS,
};

/* note.code of WIRE_GOODBYE and WIRE_DRAIN */
enum wire_parting {
    WIRE_PARTING_FINISHED = 1, /* the run is over */
    WIRE_PARTING_FAILED,       /* the run ended with an error */
    WIRE_PARTING_SHUTDOWN,     /* the sender was told to stop; a coordinator may come back */
    WIRE_PARTINGS,
};

enum wire_job_kind { WIRE_GRADIENT = 1, WIRE_SCORE, WIRE_GENERATE, WIRE_CAPTURE, WIRE_JOB_KINDS };

/* What a SCORE job makes of a leaf. */
enum wire_score {
    WIRE_LOG_P, /* sum of log p(target) over its labels */
    WIRE_KL, /* mean over its labelled rows of KL(adapter and vectors as the job says || neither) */
    WIRE_SCORES,
};

/* job_note.code of WIRE_FAILED */
enum wire_failure {
    WIRE_FAILURE_NUMBERS = 1, /* a gradient or score is not finite or out of range */
    WIRE_FAILURE_INPUT,       /* the units do not fit this model */
    WIRE_FAILURE_RESOURCES,   /* no memory */
    WIRE_FAILURES,
};

struct wire_hello {
    uint32_t protocol;
    char worker[WIRE_NAME_BYTES];
    uint64_t epoch;
    char host[WIRE_HOST_BYTES];
    uint32_t slots;
    uint32_t kernel_levels;
    char core_type[WIRE_NAME_BYTES];
    char model_hash[WIRE_HASH_HEX];
    char shape_digest[WIRE_DIGEST_HEX];
    char build[WIRE_NAME_BYTES];
    uint64_t process; /* random per start of the program; 0: not told */
};

struct wire_welcome {
    uint32_t protocol;
    char run[WIRE_NAME_BYTES];
    uint64_t session;
    uint32_t lora_r;
    float lora_alpha;
    float lora_dropout;
    uint32_t lora_targets;
    uint64_t seed;
    char kernels[WIRE_NAME_BYTES];
    uint32_t tile_rows, tile_cols;
    bool strict;
    uint32_t heartbeat_ms;
    uint32_t silence_ms;
    char tensor_endpoint[WIRE_ADDRESS_BYTES];
    bool probe;
    uint32_t unit_tokens;
    uint32_t unit_rows;   /* of the largest unit of training; 0 = unit_tokens */
    uint32_t anchor_rows; /* of the largest unit of anchors; 0 = none */
    uint32_t tree_tokens_max;
    char precision[WIRE_NAME_BYTES];
};

struct wire_note {
    uint64_t session;
    uint32_t code;
    char text[WIRE_TEXT_BYTES];
    uint32_t retry_ms;
};

struct wire_probe {
    uint64_t session;
    uint8_t digest[WIRE_DIGEST_BYTES];
    char core_type[WIRE_NAME_BYTES];
};

struct wire_session {
    uint64_t session;
};

struct wire_request {
    uint64_t session;
    uint32_t slot;
    uint64_t request;
};

struct wire_job {
    uint64_t session;
    uint64_t job;
    uint8_t token[WIRE_TOKEN_BYTES];
    enum wire_job_kind kind;
    uint64_t step;
    uint64_t version;
    bool adapter;
    uint32_t units;
    uint32_t rows;
    uint32_t attempt;
    uint32_t slot;
    uint64_t request;
    enum wire_score score;                 /* SCORE */
    bool steer;                            /* add the vectors that the parameters end with */
    uint8_t units_hash[WIRE_DIGEST_BYTES]; /* XXH3-128 of the frame of units */
};

/* Whether the job waits for parameters of its version. */
static inline bool wire_job_fetches(const struct wire_job *job)
{
    return job->adapter || job->steer;
}

struct wire_progress {
    uint64_t job;
    uint32_t attempt;
    uint64_t progress;
};

struct wire_heartbeat {
    uint64_t session;
    uint32_t n_slots;
    struct wire_progress slots[LIMIT_SLOTS];
    uint64_t computed_ms; /* of all slots together since it started; 0: not said */
};

struct wire_unit_row {
    uint64_t unit;
    int64_t loss; /* at scale 2^40 */
    double sumsq;
    uint32_t labels;
};

struct wire_result_ready {
    uint64_t session;
    uint64_t job;
    uint8_t token[WIRE_TOKEN_BYTES];
    enum wire_job_kind kind;
    uint32_t n_rows;
    struct wire_unit_row rows[LIMIT_JOB_UNITS];
    uint64_t payload_bytes;
    uint8_t payload_hash[WIRE_DIGEST_BYTES];
    float seconds;
    uint32_t attempt;
};

struct wire_job_note {
    uint64_t session;
    uint64_t job;
    uint8_t token[WIRE_TOKEN_BYTES];
    uint32_t code;
    char text[WIRE_TEXT_BYTES];
    uint32_t attempt;
};

struct wire_params {
    uint64_t session;
    uint64_t version;
    uint64_t floats;
    uint8_t hash[WIRE_DIGEST_BYTES];
};

struct wire_message {
    enum wire_kind kind;
    union {
        struct wire_hello hello;
        struct wire_welcome welcome;
        struct wire_note note; /* refused drain goodbye */
        struct wire_probe probe;
        struct wire_session session; /* ready pong attach reprobe */
        struct wire_request request;
        struct wire_job job;
        struct wire_heartbeat heartbeat;
        struct wire_result_ready result_ready;
        struct wire_job_note job_note; /* failed send ack stale rejected release result */
        struct wire_params params;     /* fetch params */
    };
};

/* Name of a kind ("hello"), for logs; never NULL. */
const char *wire_kind_name(enum wire_kind kind);

/* Writes the header frame into out (LIMIT_HEADER_BYTES of room), *bytes long. The message must keep
 * the ranges that decode checks: breaking them is a bug of the caller. Pure, any thread. */
void wire_encode(const struct wire_message *m, uint8_t out[LIMIT_HEADER_BYTES], size_t *bytes);

/* Reads a header frame from anywhere: ERR_RANGE above LIMIT_HEADER_BYTES, ERR_PARSE when it is no
 * header, ERR_RANGE when a field is outside its range; the message names the field. Memory is
 * bounded whatever the bytes are. On failure m->kind is WIRE_NONE. Pure, any thread. */
MUST_USE enum err wire_decode(const uint8_t *data, size_t bytes, struct wire_message *m,
                              struct errbuf *e);

/* Every field of m against its range, as decode does. */
MUST_USE enum err wire_check(const struct wire_message *m, struct errbuf *e);

/* The session a message names; 0 for hello and none. */
uint64_t wire_session_of(const struct wire_message *m);

#endif
