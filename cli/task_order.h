/* task_order.h - from the words of pft submit to the order of a task: settings resolved and checked
 * here, where the files are, paths absolute. Owns: the wording of mistakes. Blocks on the disk. */
#ifndef PFT_CLI_TASK_ORDER_H
#define PFT_CLI_TASK_ORDER_H

#include "common/base/err.h"
#include "common/wire/task_message.h"

struct submit_words {
    const char *config;       /* train */
    const char *from, *model; /* evaluate: one of the two; from is RUN or a task's number */
    const char *data, *values, *readout; /* evaluate; NULL: as configured */
    const char *name;                    /* NULL: from the config or run */
    const char *const *sets;
    int n_sets;
};

/* The caller frees *order with task_order_free. */
MUST_USE enum err task_order_train(const struct submit_words *w, struct task_order *order,
                                   struct errbuf *e);
MUST_USE enum err task_order_evaluate(const struct submit_words *w, struct task_order *order,
                                      struct errbuf *e);

#endif
