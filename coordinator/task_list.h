/* task_list.h - the ordered list of a standing coordinator: what was asked for, and how it ended.
 * Owns: the tasks and their text form. Never: files, clocks, runs. Place: fleet changes it and
 * gives its text to the clerk. Pure; loop thread.
 *
 *   queued -> running -> finished | failed        cancelled from queued and running
 *
 * At most one task runs. A list that was read back may hold a running one: what the program before
 * was doing when it was killed; it comes first again. */
#ifndef PFT_TASK_LIST_H
#define PFT_TASK_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/wire/task_message.h"

enum { TASK_LIST_MOST = 1000, TASK_LIST_BYTES = 8 << 20 };

struct task {
    struct task_info info;
    uint64_t ticket;
};

struct task_list {
    uint64_t last; /* id given out last */
    struct task *tasks;
    size_t n, capacity;
};
void task_list_free(struct task_list *l);

/* A new task at the end; *id. The ticket of a task that is there gives that task. Of a full list
 * the oldest one that ended makes room; ERR_FULL when none did. */
MUST_USE enum err task_list_submit(struct task_list *l, const struct task_order *order,
                                   uint64_t now_s, uint64_t *id, struct errbuf *e);
/* The newest task again out of the list: it could not be kept. */
void task_list_forget(struct task_list *l, uint64_t id);

/* What comes next: the running one, else the first queued one; NULL: nothing. */
const struct task_info *task_list_next(const struct task_list *l);
const struct task_info *task_list_find(const struct task_list *l, uint64_t id);

void task_list_begin(struct task_list *l, uint64_t id, uint64_t now_s);
/* state: TASK_FINISHED or TASK_FAILED; a task that was cancelled meanwhile stays cancelled. */
void task_list_end(struct task_list *l, uint64_t id, enum task_state state, const char *text,
                   uint64_t now_s);
/* ERR_NOT_FOUND; ERR_STATE when it ended already, the text says how. Cancelled again is fine. */
MUST_USE enum err task_list_cancel(struct task_list *l, uint64_t id, uint64_t now_s,
                                   struct errbuf *e);

/* Appends the list as JSON; check str_ok. */
void task_list_text(const struct task_list *l, struct str *out);
/* ERR_PARSE and ERR_RANGE name what is wrong; l is empty then. */
MUST_USE enum err task_list_parse(const char *text, size_t bytes, struct task_list *l,
                                  struct errbuf *e);

#endif
