/* history.h - the earlier choices of a simulated user, and the chat that shows them.
 * A user holds one pole of the question's axis and picks evenly among that pole's options; the
 * scenarios of the history are others of the same axis, the same for users of either pole, and the
 * first k of a longer history are the history of k. Owns: the draw, the turns. Never: what a model
 * makes of them. Pure but for the render's scratch memory.
 *
 * Chat: user: scenario, blank line, "Answer as you see fit." · assistant: the choice · ... · the
 * same with the question's scenario · assistant: an option. With letters the options are listed in
 * every turn and the assistant answers with one letter. */
#ifndef PFT_HISTORY_H
#define PFT_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/dataset.h"
#include "coordinator/render.h"

enum { HISTORY_MAX = 64 };

struct history_choice {
    uint32_t scenario, option; /* of the data set */
};

/* n <= HISTORY_MAX choices of the user who holds pole `side` of the axis of scenario `question`; a
 * pure function of its arguments. ERR_REFUSED: the axis has fewer other scenarios that offer both
 * poles. */
MUST_USE enum err history_draw(const struct dataset *d, uint32_t question, uint32_t side,
                               uint64_t seed, uint32_t n, struct history_choice *out,
                               struct errbuf *e);

/* The sequence of n choices, then the question answered with `option`; its labels are the answer's
 * tokens, or the letter. ERR_REFUSED beyond data.max_length and in the paper layout, which has no
 * turns. */
MUST_USE enum err history_render(struct render *r, const struct dataset *d,
                                 const struct history_choice *choices, uint32_t n,
                                 uint32_t question, uint32_t option, bool letter,
                                 struct render_sequence *out, struct errbuf *e);

#endif
