/* render_prompt.c - conversations as tokens. */
#include "coordinator/render_prompt.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/text/chat.h"

static const char END_OF_TEXT[] = "<|endoftext|>"; /* where a model has it, it ends an answer too */

/* The last user turn into r->user. */
static enum err write_user(struct render *r, const struct render_talk *t)
{
    const struct data_scenario scenario = {.text = {t->text, t->bytes}, .axis = t->axis};
    const struct render_request q = {.scenario = &scenario, .side = (enum readout_side)t->side};
    str_clear(&r->user);
    if (t->preferred) {
        render_user(r->cfg, r->values, &q, &r->user);
    } else {
        str_append(&r->user, t->text, t->bytes);
    }
    return str_ok(&r->user);
}

static enum err encode_chat(struct render *r, const struct render_talk *t, size_t *begin,
                            struct errbuf *e)
{
    const char *system = r->cfg->data_system;
    struct chat_turn *turns = mem_calloc(t->n_history + 2, sizeof *turns);
    size_t n = 0;
    if (!turns) {
        return err_set(e, ERR_NOMEM, "no memory for %zu turns", t->n_history);
    }
    if (system[0] != '\0') {
        turns[n++] = (struct chat_turn){"system", system, strlen(system)};
    }
    for (size_t i = 0; i < t->n_history; i++) {
        const struct render_turn *turn = &t->history[i];
        turns[n++] = (struct chat_turn){turn->user ? "user" : "assistant", turn->text, turn->bytes};
    }
    turns[n++] = (struct chat_turn){"user", r->user.data ? r->user.data : "", r->user.len};
    *begin = chat_content_begin(turns, n - 1);
    enum err error = chat_encode(r->tok, turns, n, true, false, &r->list, e);
    mem_free(turns);
    return error;
}

static enum err encode_paper(struct render *r, const struct render_talk *t, size_t *begin,
                             struct errbuf *e)
{
    str_clear(&r->prompt);
    for (size_t i = 0; i < t->n_history; i++) {
        str_add(&r->prompt, t->history[i].user ? "### Human: " : "### Assistant: ");
        str_append(&r->prompt, t->history[i].text, t->history[i].bytes);
        str_add(&r->prompt, "\n");
    }
    str_add(&r->prompt, "### Human: ");
    *begin = r->prompt.len;
    str_append(&r->prompt, r->user.data ? r->user.data : "", r->user.len);
    str_add(&r->prompt, "\n### Assistant:");
    return str_ok(&r->prompt) == OK
               ? tokenizer_encode(r->tok, r->prompt.data, r->prompt.len, &r->list, e)
               : err_set(e, ERR_NOMEM, "no memory for a prompt");
}

enum err render_prompt(struct render *r, const struct render_talk *talk,
                       struct render_sequence *out, struct errbuf *e)
{
    size_t begin = 0;
    uint32_t first = 0;
    *out = (struct render_sequence){0};
    r->list.count = 0;
    if (write_user(r, talk) != OK) {
        return err_set(e, ERR_NOMEM, "no memory for a prompt");
    }
    enum err error = r->cfg->data_layout == LAYOUT_PAPER ? encode_paper(r, talk, &begin, e)
                                                         : encode_chat(r, talk, &begin, e);
    if (error != OK) {
        return error;
    }
    out->tokens = mem_calloc(r->list.count, sizeof *out->tokens);
    if (!out->tokens) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tokens", r->list.count);
    }
    out->n = (uint32_t)r->list.count;
    for (uint32_t i = 0; i < out->n; i++) {
        out->tokens[i] = r->list.items[i].id;
        first += r->list.items[i].end <= begin;
    }
    out->first_label = first < out->n ? first : out->n - 1;
    return OK;
}

uint32_t render_stops(const struct render *r, uint32_t *stops)
{
    uint32_t n = 0;
    stops[n++] = r->end_id;
    n += tokenizer_special(r->tok, END_OF_TEXT, &stops[n]);
    return n;
}
