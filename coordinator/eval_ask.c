/* eval_ask.c - reads the options of an evaluation. */
#include "coordinator/eval_ask.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/str.h"
#include "common/wire/answers.h"
#include "coordinator/history.h"

enum { FIT_USUAL = 60 };

#define SCENARIOS_MOST UINT32_MAX
#define SEED_MOST ((uint64_t)1 << 53)

struct eval_request eval_ask_usual(void)
{
    return (struct eval_request){
        .task = EVAL_SELECT, .fit = FIT_USUAL, .n_shots = 3, .shots = {0, 1, 3}};
}

enum err eval_ask_task(struct eval_request *ask, const char *value, struct errbuf *e)
{
    int task = eval_task_from(value);
    struct str known = {0};
    if (task >= 0) {
        ask->task = (enum eval_task)task;
        return OK;
    }
    for (int i = 0; i < EVAL_TASKS; i++) {
        if (i != EVAL_VALUES && i != EVAL_GENERATED) { /* --readout asks for these two */
            str_addf(&known, "%s%s", i == 0 ? "" : ", ", eval_kind((enum eval_task)i)->name);
        }
    }
    enum err error = err_set(e, ERR_USAGE, "--task: '%s' is unknown; there are %s", value,
                             known.data ? known.data : "");
    str_free(&known);
    return error;
}

/* Digits up to `end` or the text's; *next is what follows them. */
static bool number(const char *text, uint64_t most, uint64_t *out, const char **next)
{
    char *end = NULL;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    *out = strtoull(text, &end, 10);
    *next = end;
    return errno == 0 && *out <= most;
}

static enum err one_number(const char *option, const char *value, uint64_t least, uint64_t most,
                           uint64_t *out, struct errbuf *e)
{
    const char *next = value;
    if (!number(value, most, out, &next) || *next != '\0' || *out < least) {
        return err_set(e, ERR_USAGE, "%s: '%s' is no whole number from %" PRIu64 " to %" PRIu64,
                       option, value, least, most);
    }
    return OK;
}

enum err eval_ask_rising(const char *value, uint32_t room, uint32_t most, uint32_t *out,
                         uint32_t *n, struct errbuf *e)
{
    uint64_t k = 0;
    *n = 0;
    for (const char *at = value;; at++) {
        bool fine = *n < room && number(at, most, &k, &at) && (*at == ',' || *at == '\0') &&
                    (*n == 0 || k > out[*n - 1]);
        if (!fine) {
            return err_set(e, ERR_USAGE,
                           "--shots: '%s': up to %u numbers from 0 to %u are wanted, each more "
                           "than the one before, comma-separated",
                           value, room, most);
        }
        out[(*n)++] = (uint32_t)k;
        if (*at == '\0') {
            return OK;
        }
    }
}

enum err eval_ask_shots(struct eval_request *ask, const char *value, struct errbuf *e)
{
    return eval_ask_rising(value, EVAL_SHOTS_MAX, HISTORY_MAX, ask->shots, &ask->n_shots, e);
}

enum err eval_ask_mix(struct eval_request *ask, const char *value, struct errbuf *e)
{
    const double least = (double)ANSWER_WEIGHT_MIN;
    const double most = (double)ANSWER_WEIGHT_MAX;
    uint32_t n = 0;
    for (const char *at = value;; at++) {
        char *end = NULL;
        const double lambda = strtod(at, &end);
        bool fine = end != at && !isspace((unsigned char)*at) && n < EVAL_LAMBDAS_MAX &&
                    lambda >= least && lambda <= most && (n == 0 || lambda > ask->lambdas[n - 1]) &&
                    (*end == ',' || *end == '\0');
        if (!fine) {
            return err_set(e, ERR_USAGE,
                           "--lambda: '%s': up to %d numbers from %g to %g are wanted, each more "
                           "than the one before, comma-separated",
                           value, EVAL_LAMBDAS_MAX, least, most);
        }
        ask->lambdas[n++] = lambda;
        ask->n_lambdas = n;
        at = end;
        if (*at == '\0') {
            return OK;
        }
    }
}

enum err eval_ask_limit(struct eval_request *ask, const char *value, struct errbuf *e)
{
    uint64_t n = 0;
    enum err error = one_number("--limit", value, 1, SCENARIOS_MOST, &n, e);
    ask->limit = (uint32_t)n;
    return error;
}

enum err eval_ask_fit(struct eval_request *ask, const char *value, struct errbuf *e)
{
    uint64_t n = 0;
    enum err error = one_number("--fit", value, 0, SCENARIOS_MOST, &n, e);
    ask->fit = (uint32_t)n;
    return error;
}

enum err eval_ask_seed(struct eval_request *ask, const char *value, struct errbuf *e)
{
    return one_number("--seed", value, 0, SEED_MOST, &ask->seed, e);
}
