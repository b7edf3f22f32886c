/* history.c - draws the choices of a user and writes them as turns. */
#include "coordinator/history.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

enum { DRAW_SCENARIOS = 0x68697374, DRAW_OPTION = 0x7069636B };

enum err history_draw(const struct dataset *d, uint32_t question, uint32_t side, uint64_t seed,
                      uint32_t n, struct history_choice *out, struct errbuf *e)
{
    const struct data_scenario *asked = &d->scenarios[question];
    uint32_t *pool = mem_calloc(d->n_scenarios, sizeof *pool);
    uint32_t count = 0;
    if (!pool) {
        return err_set(e, ERR_NOMEM, "history: no memory for %u scenarios", d->n_scenarios);
    }
    for (uint32_t i = 0; i < d->n_scenarios; i++) {
        const struct data_scenario *s = &d->scenarios[i];
        if (i != question && s->axis == asked->axis && dataset_offers_both(s)) {
            pool[count++] = i;
        }
    }
    if (count < n) {
        mem_free(pool);
        return err_set(e, ERR_REFUSED,
                       "%s:%u:%u: a history of %u choices is asked for, its axis has %u other "
                       "scenarios in the file; ask for fewer",
                       d->path, asked->line, asked->column, n, count);
    }
    rng_shuffle(rng_key(seed, DRAW_SCENARIOS, question, 0), pool, count);
    for (uint32_t i = 0; i < n; i++) {
        const struct data_scenario *s = &d->scenarios[pool[i]];
        uint64_t key = rng_key(seed, DRAW_OPTION, question, side);
        out[i] = (struct history_choice){
            .scenario = pool[i],
            .option = dataset_side_option(
                s, side, (uint32_t)rng_below(key, i, dataset_side_count(s, side)))};
    }
    mem_free(pool);
    return OK;
}

/* Where the contents of the turns lie: they are written into one text, which moves as it grows. */
struct spans {
    size_t begin[2 * HISTORY_MAX + 2], bytes[2 * HISTORY_MAX + 2];
    size_t n;
};

static void end_span(const struct str *text, struct spans *s, size_t begin)
{
    s->begin[s->n] = begin;
    s->bytes[s->n] = text->len - begin;
    s->n++;
}

static void add_exchange(const struct render *r, const struct data_scenario *s, uint32_t option,
                         bool letter, struct str *text, struct spans *spans)
{
    const struct render_request q = {.scenario = s, .side = READOUT_NONE, .option = option};
    size_t begin = text->len;
    if (letter) {
        render_letter_user(r->cfg, r->values, &q, text);
    } else {
        render_user(r->cfg, r->values, &q, text);
    }
    end_span(text, spans, begin);
    begin = text->len;
    if (letter) {
        str_addf(text, "%c", (char)('A' + option));
    } else {
        str_append(text, s->options[option].text.text, s->options[option].text.bytes);
    }
    end_span(text, spans, begin);
}

static enum err check_length(const struct render *r, const struct dataset *d, uint32_t question,
                             uint32_t n, struct render_sequence *out, struct errbuf *e)
{
    const struct data_scenario *s = &d->scenarios[question];
    if (out->n <= r->cfg->data_max_length) {
        return OK;
    }
    enum err error = err_set(e, ERR_REFUSED,
                             "%s:%u:%u: with %u earlier choices the prompt takes %u tokens, "
                             "data.max_length is %u: raise it or ask for a shorter history",
                             d->path, s->line, s->column, n, out->n, r->cfg->data_max_length);
    mem_free(out->tokens);
    *out = (struct render_sequence){0};
    return error;
}

static enum err check_letters(const struct data_scenario *s, const char *path, struct errbuf *e)
{
    return s->n_options <= RENDER_LETTERS
               ? OK
               : err_set(e, ERR_UNSUPPORTED, "%s:%u: letter: %u options, there are %d letters",
                         path, s->line, s->n_options, RENDER_LETTERS);
}

enum err history_render(struct render *r, const struct dataset *d,
                        const struct history_choice *choices, uint32_t n, uint32_t question,
                        uint32_t option, bool letter, struct render_sequence *out, struct errbuf *e)
{
    struct spans spans = {.n = 0};
    struct chat_turn turns[2 * HISTORY_MAX + 2];
    CHECK(n <= HISTORY_MAX);
    if (r->cfg->data_layout == LAYOUT_PAPER) {
        return err_set(e, ERR_REFUSED,
                       "a history needs turns, data.layout: paper has none; take preference_last");
    }
    enum err error = letter ? check_letters(&d->scenarios[question], d->path, e) : OK;
    for (uint32_t i = 0; i < n && letter && error == OK; i++) {
        error = check_letters(&d->scenarios[choices[i].scenario], d->path, e);
    }
    if (error != OK) {
        return error;
    }
    str_clear(&r->user);
    for (uint32_t i = 0; i < n; i++) {
        const struct history_choice *c = &choices[i];
        add_exchange(r, &d->scenarios[c->scenario], c->option, letter, &r->user, &spans);
    }
    add_exchange(r, &d->scenarios[question], option, letter, &r->user, &spans);
    if (str_ok(&r->user) != OK) {
        return err_set(e, str_ok(&r->user), "a history does not fit the memory");
    }
    for (size_t i = 0; i < spans.n; i++) {
        turns[i] = (struct chat_turn){.role = i % 2 == 0 ? "user" : "assistant",
                                      .content = r->user.data + spans.begin[i],
                                      .content_bytes = spans.bytes[i]};
    }
    error = render_turns(r, turns, spans.n, letter, out, e);
    return error == OK ? check_length(r, d, question, n, out, e) : error;
}
