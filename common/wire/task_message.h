/* task_message.h - the parts of the status endpoint's messages that are about tasks: what is
 * ordered, and how the tasks of a standing coordinator stand.
 * Owns: the structs and the ranges of their fields. Never: the list, files, sockets. */
#ifndef PFT_TASK_MESSAGE_H
#define PFT_TASK_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/message.h"

enum task_sort { TASK_NOTHING, TASK_TRAIN, TASK_EVALUATE, TASK_SORTS };

enum task_state {
    TASK_UNKNOWN,
    TASK_QUEUED,
    TASK_RUNNING,
    TASK_FINISHED,
    TASK_FAILED,
    TASK_CANCELLED,
    TASK_STATES,
};

enum task_part { TASK_LOG, TASK_RESULT, TASK_PARTS };

enum {
    TASK_CONFIG_BYTES = 32 << 10, /* with the NUL, as all of these */
    TASK_FROM_BYTES = 4096,
    TASK_SETS_BYTES = 16 << 10,
    TASK_ORDER_BYTES = TASK_CONFIG_BYTES + TASK_FROM_BYTES + TASK_SETS_BYTES + 256,
};

/* Texts belong to the order (mem_free by task_order_free); NULL is "". */
struct task_order {
    enum task_sort sort;
    uint64_t ticket;
    char name[WIRE_NAME_BYTES];
    char *config; /* YAML, paths absolute; evaluate: "" takes the one of from */
    char *from;   /* evaluate: run folder, or a task's number; "" is the bare model */
    char *sets;   /* KEY=VALUE, one a line */
};
void task_order_free(struct task_order *o); /* fine on a zeroed one */

struct task_info {
    uint64_t id; /* 1, 2, ... in the order they came */
    enum task_sort sort;
    enum task_state state;
    char name[WIRE_NAME_BYTES];
    char text[WIRE_TEXT_BYTES];               /* why it failed */
    uint64_t submitted_s, started_s, ended_s; /* since 1970; 0: not yet */
};

const char *task_sort_name(enum task_sort sort);    /* "train" */
const char *task_state_name(enum task_state state); /* "queued" */

/* Control characters become spaces: no text of the status endpoint may hold one. */
void wire_make_plain(char *s);

/* ERR_RANGE names what is too long, missing or holds control characters. */
MUST_USE enum err task_order_check(const struct task_order *o, struct errbuf *e);

#endif
