/* render_prompt.h - the prompt of a conversation that is to be answered, worded and laid out as in
 * training. Owns: how a history is written. Never: the wording itself (render.h). Like a struct
 * render, used by one thread at a time.
 *
 * preference_last: ChatML turns, then the open turn of the assistant; paper: "### Human: " and
 * "### Assistant: " turns, the last one open and without its space, which belongs to the answer's
 * first token. A preference stands in the last user turn alone, where training has it. */
#ifndef PFT_RENDER_PROMPT_H
#define PFT_RENDER_PROMPT_H

#include <stdbool.h>

#include "coordinator/render.h"

struct render_turn {
    bool user; /* else the assistant's */
    const char *text;
    size_t bytes;
};

struct render_talk {
    const struct render_turn *history; /* [n_history], oldest first; the last one is no user's */
    size_t n_history;
    const char *text; /* of the user, to be answered */
    size_t bytes;
    bool preferred; /* the next two count */
    uint32_t axis, side;
};

/* out->first_label: the first token of the last user turn's text. */
MUST_USE enum err render_prompt(struct render *r, const struct render_talk *talk,
                                struct render_sequence *out, struct errbuf *e);

/* The tokens that end an answer, into stops [LIMIT_STOPS]; their number. */
uint32_t render_stops(const struct render *r, uint32_t *stops);

#endif
