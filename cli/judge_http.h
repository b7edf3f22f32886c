/* judge_http.h - JSON posted to an OpenAI-compatible endpoint: retries with back-off, a rate limit,
 * a key that is sent and never shown. Owns: the connection (libcurl). Never: what a request means;
 * writes the key to a file, a log or a message. Redirects are not followed: they would carry the
 * key elsewhere. Blocks. */
#ifndef PFT_JUDGE_HTTP_H
#define PFT_JUDGE_HTTP_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct judge_http;

struct judge_http_config {
    const char *url;      /* whole address of the call */
    const char *key;      /* NULL or "": none is sent */
    double per_minute;    /* requests; at most so many */
    uint32_t timeout_ms;  /* of one request */
    uint32_t attempts;    /* of one request, at least 1 */
    uint32_t back_off_ms; /* before the second attempt; doubled each time, at most 30 s */
};

struct judge_http_counts {
    uint64_t requests, retries;
};

/* ERR_REFUSED: a key would leave this machine without encryption. */
MUST_USE enum err judge_http_open(const struct judge_http_config *cfg, struct judge_http **out,
                                  struct errbuf *e);
void judge_http_close(struct judge_http **h); /* wipes the key */

/* Posts a body; the answer of status 200 is appended to out. 429, 5xx, timeouts, broken
 * connections and an error in the place of an answer are tried again (Retry-After is kept to),
 * other statuses are not. The message has the other side's own words. ERR_GONE: no
 * attempt worked. */
MUST_USE enum err judge_http_post(struct judge_http *h, const char *body, struct str *out,
                                  struct errbuf *e);

struct judge_http_counts judge_http_counted(const struct judge_http *h);

#endif
