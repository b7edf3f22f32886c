/* eval_generated.c - select one and select all as the paper asks them: the options are listed, the
 * value is named, JSON is wanted, and the answer is generated, greedily. What a reply picks is
 * read leniently (reply.h); one that cannot be read is wrong and counted as unparsed. */
#include <math.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/eval_all.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_named.h"
#include "coordinator/generate.h"
#include "coordinator/render_prompt.h"
#include "coordinator/reply.h"

/* A choice is the first thing that is asked for; the text of an option has room too. */
enum { NEW_TOKENS = 64 };

/* The requests of a scenario: by side, and of each one, then all. */
enum { ASK_ONE, ASK_ALL, ASKS };
static const char *const asks[ASKS] = {RENDER_JSON_ONE, RENDER_JSON_ALL};

static bool reads(const struct dataset *d)
{
    return d->format == DATA_VCD || d->format == DATA_PAIRS;
}

static enum err add_request(struct render *r, const struct data_scenario *s, uint32_t side,
                            const char *asked, struct generate *g, struct errbuf *e)
{
    struct str text = {0};
    struct render_sequence prompt = {0};
    const struct render_request q = {.scenario = s, .side = (enum readout_side)side};
    render_listed_user(r->cfg, r->values, &q, asked, &text);
    enum err error = str_ok(&text);
    if (error != OK) {
        (void)err_set(e, error, "evaluation: no memory for a prompt");
    } else {
        const struct render_talk talk = {.text = text.data, .bytes = text.len};
        error = render_prompt(r, &talk, &prompt, e);
    }
    if (error == OK) {
        struct answer_request how = {.top_p = 1.0f, .max_new_tokens = NEW_TOKENS};
        const struct generate_branch branch = {
            .tokens = prompt.tokens, .n = prompt.n, .weight = 1.0f};
        how.n_stops = render_stops(r, how.stops);
        error = generate_add(g, &branch, 1, &how, e);
    }
    mem_free(prompt.tokens);
    str_free(&text);
    return error;
}

static enum err ask(const struct eval_input *in, struct generate *g, struct errbuf *e)
{
    struct render render = {0};
    enum err error = render_init(&render, in->cfg, in->values, in->tok, e);
    for (uint32_t i = 0; i < eval_limit(in) && error == OK; i++) {
        const struct data_scenario *s = &in->test->scenarios[i];
        if (s->n_options > RENDER_LETTERS) {
            error = err_set(e, ERR_UNSUPPORTED, "%s:%u: %u options, there are letters for %d",
                            in->test->path, s->line, s->n_options, RENDER_LETTERS);
        }
        for (uint32_t k = 0; k < 2 * ASKS && eval_named_asks(in, i) && error == OK; k++) {
            error = add_request(&render, s, k / ASKS, asks[k % ASKS], g, e);
            error = error == OK ? OK : err_prefix(e, error, "%s", in->test->path);
        }
    }
    render_free(&render);
    return error;
}

static enum err add_unparsed(const struct eval_input *in, uint32_t scenario, uint32_t side,
                             bool known, struct eval_shares *shares, struct errbuf *e)
{
    const struct eval_answer answer = {.scenario = scenario,
                                       .axis = eval_axis(in, &in->test->scenarios[scenario]),
                                       .side = side,
                                       .gain = known ? 0.0 : 1.0,
                                       .weight = 1.0};
    return eval_shares_tally(shares, "unparsed", &answer, e);
}

static enum err count_one(const struct eval_input *in, uint32_t scenario, uint32_t side,
                          const struct str *text, struct eval_shares *one, struct errbuf *e)
{
    const struct data_scenario *s = &in->test->scenarios[scenario];
    uint32_t pick = EVAL_NO_PICK;
    bool known = reply_one(text->data, text->len, s->options, s->n_options, &pick);
    enum err error = eval_named_answer(in, scenario, side, known ? pick : EVAL_NO_PICK, one, e);
    return error == OK ? add_unparsed(in, scenario, side, known, one, e) : error;
}

static enum err count_all(const struct eval_input *in, uint32_t scenario, uint32_t side,
                          const struct str *text, struct eval_shares *all, struct errbuf *e)
{
    double score[LIMIT_OPTIONS];
    bool right[LIMIT_OPTIONS];
    const struct data_scenario *s = &in->test->scenarios[scenario];
    uint64_t picked = 0;
    bool known = reply_all(text->data, text->len, s->options, s->n_options, &picked);
    for (uint32_t k = 0; k < s->n_options; k++) {
        score[k] = known && (picked >> k & 1) ? 1.0 : 0.0;
        right[k] = s->options[k].side == side;
    }
    const struct select_all_question q = {.n = s->n_options, .score = score, .right = right};
    const struct select_all_counts c = select_all_count(&q, 0.5);
    enum err error = eval_all_add(in, scenario, side, &c, all, e);
    return error == OK ? add_unparsed(in, scenario, side, known, all, e) : error;
}

static enum err count_replies(const struct eval_input *in, const struct generate *g,
                              struct eval_result *result, struct errbuf *e)
{
    uint32_t request = 0;
    struct str text = {0};
    enum err error = OK;
    for (uint32_t i = 0; i < eval_limit(in) && error == OK; i++) {
        for (uint32_t k = 0; k < 2 * ASKS && eval_named_asks(in, i) && error == OK; k++) {
            str_clear(&text);
            generate_text(g, request++, &text);
            if (str_ok(&text) != OK) {
                error = err_set(e, str_ok(&text), "evaluation: no memory for an answer");
            } else if (k % ASKS == ASK_ONE) {
                error = count_one(in, i, k / ASKS, &text, &result->parts[EVAL_ONE], e);
            } else {
                error = count_all(in, i, k / ASKS, &text, &result->parts[EVAL_ALL], e);
            }
        }
    }
    str_free(&text);
    return error;
}

static enum err read_answers(const struct eval_input *in, const struct generate *g,
                             struct eval_results *out, struct errbuf *e)
{
    struct bag_of_words *bag = NULL;
    struct eval_result *result = NULL;
    out->has_bag = true;
    out->has_all = true;
    enum err error = eval_results_values(out, in->values, e);
    if (error == OK) {
        error = eval_bag_fit(in, &bag, e);
    }
    if (error == OK) {
        error = eval_results_add(out, eval_generated.name, -1, &result, e);
    }
    if (error == OK) {
        result->threshold = (double)NAN;
        error = count_replies(in, g, result, e);
    }
    if (error == OK) {
        error = eval_bag_one(in, bag, &result->parts[EVAL_ONE_BAG], e);
    }
    if (error == OK) {
        error = eval_all_bag(in, bag, &result->parts[EVAL_ALL_BAG], e);
    }
    bag_free(&bag);
    return error;
}

const struct eval_kind eval_generated = {
    .name = "generated",
    .formats = "'vcd' and 'pairs' files",
    .reads = reads,
    .ask = ask,
    .read = read_answers,
};
