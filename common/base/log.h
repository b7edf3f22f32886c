/* log.h - one event a line on stderr: "event key=value key=value". Wall time only here.
 * Never: numbers over time (those are metrics), results (those go to stdout). Safe from any thread.
 */
#ifndef PFT_LOG_H
#define PFT_LOG_H

#include <stdint.h>

#include "common/base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Who speaks ("coordinator", "worker") and from which level on; call once at start. */
void log_init(const char *program, enum log_level level);

/* Lines go to this descriptor too, until another one or -1 (none, as at the start) is given. A
 * failed write to it is not noticed. The caller closes it, when no thread can be logging. */
void log_copy(int fd);

/* log_event(LOG_INFO, "job_leased", "job=%u worker=%s", id, name); fmt may be "". */
void log_event(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A counter for an event that a peer can repeat at will: one line a minute at most, with the count.
 */
struct log_limit {
    uint64_t last_ms;
    uint64_t suppressed;
};
void log_limited(struct log_limit *limit, uint64_t now_ms, enum log_level level, const char *event,
                 const char *fmt, ...) PRINTF_LIKE(5, 6);

#endif
