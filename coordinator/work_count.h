/* work_count.h - how much there is to compute in trees and in requests for answers, and the JSON
 * that every --count prints. Owns: the wording. Never: asks, jobs. Pure. */
#ifndef PFT_WORK_COUNT_H
#define PFT_WORK_COUNT_H

#include "common/base/str.h"
#include "coordinator/generate.h"
#include "coordinator/tree_work.h"

struct work_count {
    double trees;
    struct tree_work read; /* trees that are scored and prompts that are read */
    double decoded;        /* tokens of answers, each at its longest: an end cannot be known */
};

void work_count_tree(struct work_count *w, const struct tree *t);
/* All requests, those that have an answer too. */
void work_count_answers(struct work_count *w, const struct generate *g);

/* Appends {"trees", "rows", "context", "label_rows", "decoded"}, `passes` times. */
void work_count_json(const struct work_count *w, double passes, struct str *out);

#endif
