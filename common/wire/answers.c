/* answers.c - byte forms and bounds of requests and answers. */
#include "common/wire/answers.h"

#include <math.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/wire/units_frame.h"

enum { REQUEST_BYTES = 8 + 4 * 4 + 4 * LIMIT_STOPS, ANSWER_HEAD_BYTES = 8 };
#define WEIGHT_SLACK 1e-4 /* of the sum of the exponents, each rounded to fp32 */

#define NEED(condition, ...)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return err_set(e, ERR_RANGE, __VA_ARGS__);                                             \
        }                                                                                          \
    } while (0)

static void put_f32(uint8_t *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bytes_put_u32(out, bits);
}

uint32_t answer_token(const struct answer_view *a, uint32_t i)
{
    return bytes_get_u32(a->tokens + 4 * (size_t)i);
}

static enum err check_branches(const struct tree *t, uint32_t new_tokens, struct errbuf *e)
{
    double sum = 0.0;
    NEED(t->n_leaves >= 1 && t->n_leaves <= LIMIT_BRANCHES && t->n_labels == t->n_leaves &&
             t->n_terms == 0,
         "%u branches with %u labels and %u terms; 1 to %d branches with one label each and no "
         "term are possible",
         t->n_leaves, t->n_labels, t->n_terms, LIMIT_BRANCHES);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < t->n_labels; i++) {
        const struct tree_label *label = &t->labels[i];
        NEED((seen >> label->leaf & 1u) == 0, "branch %u has two labels", label->leaf);
        seen |= 1u << label->leaf;
        NEED(label->weight >= ANSWER_WEIGHT_MIN && label->weight <= ANSWER_WEIGHT_MAX,
             "exponent %g of branch %u: %g to %g are possible", (double)label->weight, label->leaf,
             (double)ANSWER_WEIGHT_MIN, (double)ANSWER_WEIGHT_MAX);
        sum += (double)label->weight;
    }
    NEED(fabs(sum - 1.0) <= WEIGHT_SLACK, "exponents of branches sum to %g, 1 is wanted", sum);
    NEED(t->n_rows + t->n_leaves * new_tokens <= LIMIT_TREE_TOKENS,
         "a prompt of %u tokens and %u new ones on each of %u branches; at most %d together",
         t->n_rows, new_tokens, t->n_leaves, LIMIT_TREE_TOKENS);
    return OK;
}

enum err answer_check(const struct tree *tree, const struct answer_request *r, uint32_t vocab,
                      struct errbuf *e)
{
    NEED(r->temperature >= 0.0f && r->temperature <= ANSWER_TEMPERATURE_MAX,
         "temperature %g: 0 to %g are possible", (double)r->temperature,
         (double)ANSWER_TEMPERATURE_MAX);
    NEED(r->top_p > 0.0f && r->top_p <= 1.0f, "top_p %g: above 0, to 1 are possible",
         (double)r->top_p);
    NEED(r->max_new_tokens >= 1 && r->max_new_tokens <= LIMIT_ANSWER_TOKENS,
         "max_new_tokens %u: 1 to %d are possible", r->max_new_tokens, LIMIT_ANSWER_TOKENS);
    NEED(r->n_stops <= LIMIT_STOPS, "%u stop tokens: at most %d are possible", r->n_stops,
         LIMIT_STOPS);
    for (uint32_t i = 0; i < LIMIT_STOPS; i++) {
        NEED(r->stops[i] < vocab && (i < r->n_stops || r->stops[i] == 0),
             "stop token %u: below %u wanted", r->stops[i], vocab);
    }
    return check_branches(tree, r->max_new_tokens, e);
}

size_t answers_frame_bytes(const struct unit *const *units, uint32_t n)
{
    return 4 + (size_t)n * REQUEST_BYTES + units_frame_bytes(units, n);
}

void answers_frame_write(const struct unit *const *units,
                         const struct answer_request *const *requests, uint32_t n, uint8_t *out)
{
    bytes_put_u32(out, n);
    out += 4;
    for (uint32_t i = 0; i < n; i++) {
        const struct answer_request *r = requests[i];
        bytes_put_u64(out, r->seed);
        put_f32(out + 8, r->temperature);
        put_f32(out + 12, r->top_p);
        bytes_put_u32(out + 16, r->max_new_tokens);
        bytes_put_u32(out + 20, r->n_stops);
        for (uint32_t k = 0; k < LIMIT_STOPS; k++) {
            bytes_put_u32(out + 24 + 4 * (size_t)k, r->stops[k]);
        }
        out += REQUEST_BYTES;
    }
    units_frame_write(units, n, out);
}

static struct answer_request read_request(const uint8_t *data)
{
    struct answer_request r = {.seed = bytes_get_u64(data),
                               .temperature = bytes_get_f32(data + 8),
                               .top_p = bytes_get_f32(data + 12),
                               .max_new_tokens = bytes_get_u32(data + 16),
                               .n_stops = bytes_get_u32(data + 20)};
    for (uint32_t k = 0; k < LIMIT_STOPS; k++) {
        r.stops[k] = bytes_get_u32(data + 24 + 4 * (size_t)k);
    }
    return r;
}

static enum err check_all(const struct unit *units, const struct answer_request *requests,
                          uint32_t n, uint32_t wanted, uint32_t vocab, struct errbuf *e)
{
    NEED(n == wanted, "%u requests for %u units", wanted, n);
    for (uint32_t i = 0; i < n; i++) {
        NEED(units[i].n_trees == 1, "request %u has %u trees, 1 is wanted", i, units[i].n_trees);
        enum err error = answer_check(&units[i].trees[0], &requests[i], vocab, e);
        if (error != OK) {
            return err_prefix(e, error, "request %u", i);
        }
    }
    return OK;
}

enum err answers_frame_read(const uint8_t *data, size_t bytes, uint32_t vocab, struct unit **units,
                            struct answer_request **requests, uint32_t *n, struct errbuf *e)
{
    *units = NULL;
    *requests = NULL;
    *n = 0;
    uint32_t wanted = bytes >= 4 ? bytes_get_u32(data) : 0;
    NEED(wanted >= 1 && wanted <= LIMIT_JOB_UNITS && (bytes - 4) / REQUEST_BYTES >= wanted,
         "a frame of %zu bytes with %u requests; 1 to %d are possible", bytes, wanted,
         LIMIT_JOB_UNITS);
    struct answer_request *list = mem_calloc(wanted, sizeof *list);
    if (!list) {
        return err_set(e, ERR_NOMEM, "no memory for %u requests", wanted);
    }
    for (uint32_t i = 0; i < wanted; i++) {
        list[i] = read_request(data + 4 + (size_t)i * REQUEST_BYTES);
    }
    size_t at = 4 + (size_t)wanted * REQUEST_BYTES;
    struct unit *read = NULL;
    uint32_t count = 0;
    enum err error = units_frame_read(data + at, bytes - at, vocab, &read, &count, e);
    if (error == OK) {
        error = check_all(read, list, count, wanted, vocab, e);
    }
    if (error != OK) {
        units_frame_free(read, count);
        mem_free(list);
        return error;
    }
    *units = read;
    *requests = list;
    *n = count;
    return OK;
}

static enum err read_answer(const uint8_t *data, size_t bytes, const struct answer_request *r,
                            uint32_t vocab, struct answer_view *a, struct errbuf *e)
{
    if (bytes < ANSWER_HEAD_BYTES) {
        return err_set(e, ERR_PARSE, "%zu bytes are left, its head has %d", bytes,
                       ANSWER_HEAD_BYTES);
    }
    *a = (struct answer_view){.n = bytes_get_u32(data),
                              .end = (enum answer_end)bytes_get_u32(data + 4),
                              .tokens = data + ANSWER_HEAD_BYTES};
    NEED(a->end == ANSWER_STOPPED || a->end == ANSWER_FULL, "its end is %u, 1 or 2 is wanted",
         (unsigned)a->end);
    NEED(a->n <= (bytes - ANSWER_HEAD_BYTES) / 4 && a->n <= r->max_new_tokens &&
             (a->end != ANSWER_FULL || a->n == r->max_new_tokens),
         "%u tokens in %zu bytes, at most %u were asked for", a->n, bytes, r->max_new_tokens);
    for (uint32_t i = 0; i < a->n; i++) {
        NEED(answer_token(a, i) < vocab, "token %u: below %u wanted", answer_token(a, i), vocab);
    }
    return OK;
}

enum err answers_read(const uint8_t *data, size_t bytes,
                      const struct answer_request *const *requests, uint32_t n, uint32_t vocab,
                      struct answer_view *answers, struct errbuf *e)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        enum err error = read_answer(data + at, bytes - at, requests[i], vocab, &answers[i], e);
        if (error != OK) {
            return err_prefix(e, error, "answer %u", i);
        }
        at += ANSWER_HEAD_BYTES + 4 * (size_t)answers[i].n;
    }
    return at == bytes ? OK : err_set(e, ERR_PARSE, "%zu bytes after the last answer", bytes - at);
}
