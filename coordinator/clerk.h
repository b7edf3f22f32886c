/* clerk.h - the thread of a standing coordinator that reads and writes its files: the list and the
 * orders of tasks, pieces of logs and results. Owns: DIR, its lock, DIR/tasks.json. Never: decides
 * what is in the list. Calls from the loop thread never block; reports come in order, as letters in
 * one mailbox. A slow disk delays nobody but the clerk. */
#ifndef PFT_CLERK_H
#define PFT_CLERK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/mailbox.h"
#include "common/net/socket.h"
#include "coordinator/task_list.h"

struct clerk;

enum clerk_verb { CLERK_SAVE, CLERK_READ };

/* Comes back with the report as it was given: what it was for. */
struct clerk_tag {
    enum { CLERK_NOBODY, CLERK_SUBMIT, CLERK_CANCEL, CLERK_CONTENT } what;
    struct socket_route route; /* of the one who asked */
    uint64_t task;
    bool fresh; /* CLERK_SUBMIT: no ticket of before came again */
};

struct clerk_report {
    struct letter letter; /* first */
    enum clerk_verb verb;
    struct clerk_tag tag;
    enum err code;  /* of a list, ERR_IO: what the disk holds is unknown, the program must end */
    bool orderless; /* the order could not be kept, the list was not touched */
    struct errbuf text;
    uint8_t *content; /* CLERK_READ */
    uint32_t content_bytes;
    uint64_t content_total;
};
void clerk_report_free(struct clerk_report *report);

/* Makes dir, takes its lock, reads the list into the caller's. ERR_BUSY names who has the folder.
 * reports is borrowed. */
MUST_USE enum err clerk_open(const char *dir, struct mailbox *reports, struct task_list *list,
                             struct clerk **out, struct errbuf *e);
/* Writes the list as it is now, and before it the order (its texts are taken) of tag.task; order
 * may be NULL. */
MUST_USE enum err clerk_save(struct clerk *c, const struct task_list *list,
                             struct task_order *order, const struct clerk_tag *tag);
/* A piece of a task's log or result from offset on; sort is the task's. */
MUST_USE enum err clerk_read(struct clerk *c, enum task_part part, enum task_sort sort,
                             uint64_t offset, const struct clerk_tag *tag);
/* Stops after what was handed in. */
void clerk_close(struct clerk **c);

#endif
