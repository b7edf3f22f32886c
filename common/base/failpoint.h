/* failpoint.h - places where a test build can be killed, failed or delayed from outside.
 * Owns: the list of names, the one that is armed. Never: is in a release program
 * (docs/failpoints.md).
 *
 * PFT_FAILPOINT=NAME:ACTION[:FIRST[:TIMES]] arms one place. ACTION is kill (SIGKILL to itself),
 * eio, enospc (only where something can fail that way) or "delay MS". It acts on the FIRST-th pass
 * (default 1) and TIMES passes in all (default 1; a delay: on all from then on). NAME * with a
 * delay is every place. PFT_FAILPOINT=list prints this program's places and ends it.
 *
 * Without PFT_FAILPOINTS the macros are nothing. Any thread. */
#ifndef PFT_FAILPOINT_H
#define PFT_FAILPOINT_H

#include <stdbool.h>

#include "common/base/err.h"

/* X(name, program, what it takes, when it is passed): pass takes kill and delay, io also eio and
 * enospc; start: once at every start; resume: at a start that goes on; step: many times;
 * checkpoint: once a checkpoint; end: once, after the last step. In a standing fleet: order: once a
 * submitted task; list: whenever the list is written; task: once a task that runs. */
#define FAILPOINT_LIST(X)                                                                          \
    X("journal.open", "coordinator", "io", "start")                                                \
    X("start.settings", "coordinator", "pass", "start")                                            \
    X("start.kept", "coordinator", "pass", "start")                                                \
    X("start.recovered", "coordinator", "pass", "start")                                           \
    X("resume.replay", "coordinator", "pass", "resume")                                            \
    X("address.write", "coordinator", "io", "start")                                               \
    X("address.written", "coordinator", "pass", "start")                                           \
    X("result.announced", "coordinator", "pass", "step")                                           \
    X("result.received", "coordinator", "pass", "step")                                            \
    X("result.settled", "coordinator", "pass", "step")                                             \
    X("reduce.add", "coordinator", "pass", "step")                                                 \
    X("reduce.finish", "coordinator", "pass", "step")                                              \
    X("reduce.stepped", "coordinator", "pass", "step")                                             \
    X("params.publish", "coordinator", "pass", "step")                                             \
    X("params.published", "coordinator", "pass", "step")                                           \
    X("journal.before_append", "coordinator", "pass", "step")                                      \
    X("journal.append", "coordinator", "io", "step")                                               \
    X("journal.fsync", "coordinator", "io", "step")                                                \
    X("journal.after_fsync", "coordinator", "pass", "step")                                        \
    X("journal.commit", "coordinator", "io", "step")                                               \
    X("journal.after_commit", "coordinator", "pass", "step")                                       \
    X("checkpoint.before_write", "coordinator", "pass", "checkpoint")                              \
    X("checkpoint.write", "coordinator", "io", "checkpoint")                                       \
    X("checkpoint.fsync", "coordinator", "io", "checkpoint")                                       \
    X("checkpoint.rename", "coordinator", "io", "checkpoint")                                      \
    X("checkpoint.renamed", "coordinator", "pass", "checkpoint")                                   \
    X("checkpoint.thin_out", "coordinator", "pass", "checkpoint")                                  \
    X("journal.rotate", "coordinator", "io", "checkpoint")                                         \
    X("journal.rotated", "coordinator", "io", "checkpoint")                                        \
    X("journal.prune", "coordinator", "pass", "checkpoint")                                        \
    X("export.before", "coordinator", "io", "end")                                                 \
    X("export.weights", "coordinator", "io", "end")                                                \
    X("export.after", "coordinator", "pass", "end")                                                \
    X("report.before", "coordinator", "pass", "end")                                               \
    X("task.make", "coordinator", "io", "order")                                                   \
    X("task.made", "coordinator", "pass", "order")                                                 \
    X("list.write", "coordinator", "io", "list")                                                   \
    X("list.written", "coordinator", "pass", "list")                                               \
    X("task.open", "coordinator", "pass", "task")                                                  \
    X("task.opened", "coordinator", "pass", "task")                                                \
    X("task.result", "coordinator", "io", "task")                                                  \
    X("task.result_written", "coordinator", "pass", "task")                                        \
    X("weights.room", "worker", "io", "start")                                                     \
    X("weights.filled", "worker", "io", "start")                                                   \
    X("weights.renamed", "worker", "pass", "start")                                                \
    X("worker.welcomed", "worker", "pass", "start")                                                \
    X("probe.before", "worker", "pass", "start")                                                   \
    X("probe.after", "worker", "pass", "start")                                                    \
    X("job.taken", "worker", "pass", "step")                                                       \
    X("params.received", "worker", "pass", "step")                                                 \
    X("job.computed", "worker", "pass", "step")                                                    \
    X("result.announce", "worker", "pass", "step")                                                 \
    X("result.sent", "worker", "pass", "step")

#ifdef PFT_FAILPOINTS
enum { FAILPOINTS_ON = 1 };
#define FAILPOINT(name) failpoint_pass(name)
#define FAILPOINT_FAILS(name) failpoint_fails(name)
#define FAILPOINT_SETUP(program, e) failpoint_setup(program, e)
#else
enum { FAILPOINTS_ON = 0 };
#define FAILPOINT(name) ((void)0)
#define FAILPOINT_FAILS(name) false
#define FAILPOINT_SETUP(program, e) OK
#endif

/* Arms what PFT_FAILPOINT says; before any thread. ERR_USAGE names the bad word and what would do.
 */
MUST_USE enum err failpoint_setup(const char *program, struct errbuf *e);
/* The same from a text; NULL disarms. "list" is not taken. */
MUST_USE enum err failpoint_arm(const char *program, const char *text, struct errbuf *e);

/* Behind the macros. A kill does not return; true: errno is set and the call before which it stands
 * is taken to have failed. */
void failpoint_pass(const char *name);
MUST_USE bool failpoint_fails(const char *name);

#endif
