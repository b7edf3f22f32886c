/* render.c - the wording of prompts, and their tokens. */
#include "coordinator/render.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

static const char PAPER_HUMAN[] = "### Human: ";
static const char PAPER_ASSISTANT[] = "\n### Assistant: ";
static const char ONE_LETTER[] = "Reply with one letter.";

enum err render_init(struct render *r, const struct run_config *cfg, const struct values *values,
                     const struct tokenizer *tok, struct errbuf *e)
{
    *r = (struct render){.cfg = cfg, .values = values, .tok = tok};
    enum err error = chat_check(tok, e);
    if (error == OK && !tokenizer_special(tok, CHAT_END, &r->end_id)) {
        error = err_set(e, ERR_UNSUPPORTED, "the tokenizer has no %s", CHAT_END);
    }
    return error;
}

void render_free(struct render *r)
{
    str_free(&r->user);
    str_free(&r->prompt);
    token_list_free(&r->list);
    *r = (struct render){0};
}

void render_preference(const struct values *values, const struct data_scenario *s,
                       enum readout_side side, struct str *out)
{
    CHECK(side <= READOUT_NONE);
    if (side == READOUT_NONE) {
        str_add(out, "Answer as you see fit.");
    } else if (s->axis == DATASET_NO_AXIS) {
        str_append(out, s->extra[side].text, s->extra[side].bytes);
    } else {
        const struct values_pole *pole = &values->axes[s->axis].poles[side];
        str_addf(out, "Answer as someone who values '%s'. %s", pole->name, pole->sentence);
    }
}

/* Scenario (from the cut on) and preference in the order of the layout; asks: NULL, or the options
 * are listed and it ends so. */
static void add_user(const struct run_config *cfg, const struct values *values,
                     const struct render_request *q, const char *asks, struct str *out)
{
    const struct data_scenario *s = q->scenario;
    bool first = cfg->data_layout == LAYOUT_PAPER;
    const char *gap = first ? "\n" : "\n\n";
    size_t before = out->len;
    CHECK(q->cut <= s->text.bytes);
    if (first) {
        render_preference(values, s, q->side, out);
        str_add(out, out->len > before && (asks || q->cut < s->text.bytes) ? gap : "");
    }
    str_append(out, s->text.text + q->cut, s->text.bytes - q->cut);
    if (asks) {
        str_add(out, q->cut < s->text.bytes ? "\n\n" : "");
        for (uint32_t i = 0; i < s->n_options; i++) {
            str_addf(out, "%s%c. ", i > 0 ? "\n" : "", (char)('A' + i));
            str_append(out, s->options[i].text.text, s->options[i].text.bytes);
        }
    }
    if (!first) {
        size_t length = out->len;
        struct str preference = {0};
        render_preference(values, s, q->side, &preference);
        if (preference.len > 0) {
            str_add(out, length > before ? gap : "");
            str_append(out, preference.data, preference.len);
        }
        out->error = out->error == OK ? preference.error : out->error;
        str_free(&preference);
    }
    if (asks) {
        str_addf(out, "%s%s", first ? "\n\n" : " ", asks);
    }
}

void render_user(const struct run_config *cfg, const struct values *values,
                 const struct render_request *q, struct str *out)
{
    add_user(cfg, values, q, NULL, out);
}

void render_listed_user(const struct run_config *cfg, const struct values *values,
                        const struct render_request *q, const char *asks, struct str *out)
{
    CHECK(q->scenario->n_options <= RENDER_LETTERS);
    add_user(cfg, values, q, asks, out);
}

void render_letter_user(const struct run_config *cfg, const struct values *values,
                        const struct render_request *q, struct str *out)
{
    add_user(cfg, values, q, ONE_LETTER, out);
}

/* Fills r->list with the tokens of the turns, a system turn in front where one is set; *answer =
 * where the text of the last turn begins. */
static enum err encode_turns(struct render *r, const struct chat_turn *turns, size_t n,
                             size_t *answer, struct errbuf *e)
{
    struct chat_turn all[RENDER_TURNS + 1];
    size_t count = 0;
    CHECK(n <= RENDER_TURNS);
    r->list.count = 0;
    if (r->cfg->data_system[0] != '\0') {
        all[count++] =
            (struct chat_turn){"system", r->cfg->data_system, strlen(r->cfg->data_system)};
    }
    memcpy(all + count, turns, n * sizeof *turns);
    count += n;
    *answer = chat_content_begin(all, count - 1);
    return chat_encode(r->tok, all, count, false, true, &r->list, e);
}

/* Prompt (r->user) and answer. */
static enum err encode_chat(struct render *r, const char *answer_text, size_t bytes, size_t *answer,
                            struct errbuf *e)
{
    const struct chat_turn turns[2] = {{"user", r->user.data ? r->user.data : "", r->user.len},
                                       {"assistant", answer_text, bytes}};
    return encode_turns(r, turns, 2, answer, e);
}

/* The same as plain text; the end token is put behind by hand. */
static enum err encode_paper(struct render *r, const char *answer_text, size_t bytes,
                             size_t *answer, struct errbuf *e)
{
    str_clear(&r->prompt);
    str_add(&r->prompt, PAPER_HUMAN);
    str_append(&r->prompt, r->user.data ? r->user.data : "", r->user.len);
    str_add(&r->prompt, PAPER_ASSISTANT);
    *answer = r->prompt.len;
    str_append(&r->prompt, answer_text, bytes);
    enum err error = str_ok(&r->prompt);
    if (error == OK) {
        error = tokenizer_encode(r->tok, r->prompt.data, r->prompt.len, &r->list, e);
    } else {
        (void)err_set(e, error, "a prompt does not fit the memory");
    }
    void *items = r->list.items;
    if (error == OK) {
        error = mem_grow(&items, &r->list.capacity, r->list.count + 1, sizeof *r->list.items,
                         LIMIT_TEXT_BYTES * 4);
    }
    if (error == OK) {
        uint32_t end = (uint32_t)r->prompt.len;
        r->list.items = items;
        r->list.items[r->list.count++] = (struct token){.id = r->end_id, .begin = end, .end = end};
    }
    return error;
}

static enum err encode(struct render *r, const struct render_request *q, bool lettered,
                       const char *answer_text, size_t bytes, size_t *answer, struct errbuf *e)
{
    str_clear(&r->user);
    r->list.count = 0;
    add_user(r->cfg, r->values, q, lettered ? ONE_LETTER : NULL, &r->user);
    if (str_ok(&r->user) != OK) {
        return err_set(e, str_ok(&r->user), "a prompt does not fit the memory");
    }
    return r->cfg->data_layout == LAYOUT_PAPER ? encode_paper(r, answer_text, bytes, answer, e)
                                               : encode_chat(r, answer_text, bytes, answer, e);
}

/* The first token of r->list whose text lies in the answer. The plain text of the paper merges the
 * space in front into the answer's first token: there a token that reaches into it counts too. */
static uint32_t first_in_answer(const struct render *r, size_t answer)
{
    bool paper = r->cfg->data_layout == LAYOUT_PAPER;
    uint32_t i = 0;
    while (i + 1 < r->list.count &&
           (paper ? r->list.items[i].end <= answer : r->list.items[i].begin < answer)) {
        i++;
    }
    return i;
}

static enum err take(struct render *r, uint32_t n, uint32_t first_label,
                     struct render_sequence *out, struct errbuf *e)
{
    CHECK(n >= 2 && first_label >= 1);
    out->tokens = mem_calloc(n, sizeof *out->tokens);
    if (!out->tokens) {
        return err_set(e, ERR_NOMEM, "no memory for %u tokens", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        out->tokens[i] = r->list.items[i].id;
    }
    out->n = n;
    out->first_label = first_label < n ? first_label : n;
    return OK;
}

enum err render_score(struct render *r, const struct render_request *q, struct render_sequence *out,
                      struct errbuf *e)
{
    const struct data_text *answer = &q->scenario->options[q->option].text;
    size_t begin = 0;
    enum err error = encode(r, q, false, answer->text, answer->bytes, &begin, e);
    return error == OK ? take(r, (uint32_t)r->list.count, first_in_answer(r, begin), out, e)
                       : error;
}

enum err render_train(struct render *r, const struct render_request *q, struct render_sequence *out,
                      struct errbuf *e)
{
    enum err error = render_score(r, q, out, e);
    if (error != OK || r->cfg->data_layout != LAYOUT_PAPER) {
        return error;
    }
    /* The paper's code masks as many tokens as the prompt has by itself, its last space included,
     * although in the whole text that space is part of the answer's first token. */
    size_t prompt = r->prompt.len - q->scenario->options[q->option].text.bytes;
    r->list.count = 0;
    error = tokenizer_encode(r->tok, r->prompt.data, prompt, &r->list, e);
    if (error != OK) {
        mem_free(out->tokens);
        *out = (struct render_sequence){0};
        return error;
    }
    out->first_label = r->list.count < out->n ? (uint32_t)r->list.count : out->n;
    return OK;
}

/* The sequence up to the letter, its only label. */
static enum err take_letter(struct render *r, size_t begin, char letter,
                            struct render_sequence *out, struct errbuf *e)
{
    uint32_t first = first_in_answer(r, begin);
    if (first + 2 != r->list.count) { /* the letter, then the end token */
        return err_set(e, ERR_UNSUPPORTED, "the letter %c takes %zu tokens, one is needed", letter,
                       r->list.count - 1 - first);
    }
    return take(r, first + 1, first, out, e);
}

enum err render_letter(struct render *r, const struct render_request *q,
                       struct render_sequence *out, struct errbuf *e)
{
    const char letter[2] = {(char)('A' + q->option), '\0'};
    size_t begin = 0;
    if (q->scenario->n_options > RENDER_LETTERS) {
        return err_set(e, ERR_UNSUPPORTED, "%u options, the letter readout has letters for %d",
                       q->scenario->n_options, RENDER_LETTERS);
    }
    enum err error = encode(r, q, true, letter, 1, &begin, e);
    return error == OK ? take_letter(r, begin, letter[0], out, e) : error;
}

enum err render_turns(struct render *r, const struct chat_turn *turns, size_t n, bool letter,
                      struct render_sequence *out, struct errbuf *e)
{
    size_t begin = 0;
    enum err error = encode_turns(r, turns, n, &begin, e);
    if (error != OK) {
        return error;
    }
    return letter ? take_letter(r, begin, turns[n - 1].content[0], out, e)
                  : take(r, (uint32_t)r->list.count, first_in_answer(r, begin), out, e);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* From the begin of a word (or of the text) to the begin of the next one, or to the end. */
static size_t next_word(const struct data_text *t, size_t at)
{
    while (at < t->bytes && !is_space(t->text[at])) {
        at++;
    }
    while (at < t->bytes && is_space(t->text[at])) {
        at++;
    }
    return at;
}

size_t render_cut(const struct data_scenario *s, uint32_t n)
{
    size_t at = 0;
    if (n > 0 && s->text.bytes > 0 && is_space(s->text.text[0])) {
        at = next_word(&s->text, 0);
    }
    for (uint32_t i = 0; i < n && at < s->text.bytes; i++) {
        at = next_word(&s->text, at);
    }
    return at;
}

uint32_t render_words(const struct data_scenario *s)
{
    uint32_t n = 0;
    size_t at = s->text.bytes > 0 && is_space(s->text.text[0]) ? next_word(&s->text, 0) : 0;
    for (; at < s->text.bytes; n++) {
        at = next_word(&s->text, at);
    }
    return n;
}
