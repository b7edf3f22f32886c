/* children.h - the coordinator and the workers that pft starts: spawn, log file, end, watch.
 * Owns: the processes it started and nothing else; ends them by id. On the loop thread. */
#ifndef PFT_CHILDREN_H
#define PFT_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/base/err.h"
#include "common/base/file.h"

enum { CHILD_TEXT_BYTES = 200 };

struct child {
    uv_process_t process;
    char program[FILE_PATH_BYTES];
    char log[FILE_PATH_BYTES]; /* its stderr is appended here */
    int64_t log_begin;         /* bytes that were in the log before this start */
    const char *capture;       /* file that takes its stdout; NULL: inherited */
    uv_pipe_t *in, *out;       /* both, of the loop: its stdin and stdout instead; NULL: none */
    bool started, ended;
    int64_t exit_code;  /* 128 + n after signal n */
    uint64_t oom_kills; /* of the system, when it started */
    void (*on_end)(struct child *child, void *context);
    void *context;
};

/* The folder of this program's own binary: its siblings are pft-coordinator and pft-worker. */
MUST_USE enum err children_folder(char out[FILE_PATH_BYTES], struct errbuf *e);

/* Starts bin_folder/name with the words argv[1...] (NULL-terminated); it stops as after SIGTERM
 * when this process is gone. stdout is inherited and stdin closed but for what child says, stderr
 * appended to child->log. on_end is called on the loop when it ends. */
MUST_USE enum err child_start(uv_loop_t *loop, struct child *child, const char *bin_folder,
                              const char *name, const char **argv, struct errbuf *e);

/* Sends a signal if the child still runs. */
void child_signal(struct child *child, int signum);

/* How it ended: "ended with exit code 1", "was killed by signal 9 (...)"; a kill for want of memory
 * is named. */
void child_describe(const struct child *child, char out[CHILD_TEXT_BYTES]);

/* The last error in its log since its start, without time and name; "" when there is none. */
void child_reason(const struct child *child, char out[ERRBUF_BYTES]);

/* Copies the last lines of the child's log (since its start) to stderr, each behind "  | ". */
void child_print_tail(const struct child *child);

#endif
