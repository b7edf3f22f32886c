/* select_all.c - scores of picked sets, and the threshold that serves them best. */
#include "coordinator/select_all.h"

#include <stdlib.h>

#include "common/base/mem.h"

struct select_all_counts select_all_count(const struct select_all_question *q, double threshold)
{
    struct select_all_counts c = {0};
    for (uint32_t i = 0; i < q->n; i++) {
        bool picked = q->score[i] > threshold;
        c.picked += picked;
        c.right += q->right[i];
        c.hits += picked && q->right[i];
    }
    c.score = c.hits < c.picked || c.right == 0 ? 0.0 : (double)c.hits / (double)c.right;
    return c;
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double mean_score(const struct select_all_question *q, uint32_t n, double threshold)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += select_all_count(&q[i], threshold).score;
    }
    return sum;
}

enum err select_all_fit(const struct select_all_question *q, uint32_t n, double *threshold)
{
    size_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += q[i].n;
    }
    double *all = mem_calloc(count, sizeof *all);
    if (!all) {
        return ERR_NOMEM;
    }
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < q[i].n; k++) {
            all[at++] = q[i].score[k];
        }
    }
    qsort(all, count, sizeof *all, by_value);
    *threshold = count > 0 ? all[0] - 1.0 : 0.0;
    double best = mean_score(q, n, *threshold);
    for (size_t i = 1; i < count; i++) {
        if (!(all[i] > all[i - 1])) {
            continue;
        }
        double between = all[i - 1] + (all[i] - all[i - 1]) / 2.0;
        double score = mean_score(q, n, between);
        if (score > best) {
            best = score;
            *threshold = between;
        }
    }
    mem_free(all);
    return OK;
}
