/* judge_file.h - answers in words that are to be scored: a JSON array (or an object's "answers") of
 * {"value", "prompt", "answer"}; or what pft generate --json printed, whose items are {"text"}, and
 * the file of prompts that it was given, which has the values and prompts in the same order.
 * Owns: the answers and their texts. Never: scores. Refused with the item's number and field. */
#ifndef PFT_JUDGE_FILE_H
#define PFT_JUDGE_FILE_H

#include <jansson.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/values.h"

struct judge_answer {
    const char *prompt, *answer;
    uint32_t axis, side; /* of the value under which it was given */
    uint32_t cluster;    /* answers to one prompt share it */
};

struct judge_answers {
    uint32_t n;
    struct judge_answer *items; /* sorted by cluster */
    json_t *root;               /* holds the texts */
};

/* prompts: NULL, or the path of that file. */
MUST_USE enum err judge_file_read(const char *path, const char *prompts,
                                  const struct values *values, struct judge_answers *out,
                                  struct errbuf *e);
void judge_file_free(struct judge_answers *a); /* fine on a zeroed struct */

#endif
