/* neutral_text.h - a text that has nothing to do with preferences as a tree: a prompt with its
 * answer, whose tokens are compared with the model without adapter. Owns: which tokens those are.
 * Never: what is done with them. Place: the divergence evaluation and the anchor share it. */
#ifndef PFT_NEUTRAL_TEXT_H
#define PFT_NEUTRAL_TEXT_H

#include <stdbool.h>

#include "coordinator/forest.h"

enum { NEUTRAL_PROMPT, NEUTRAL_ANSWER, NEUTRAL_PARTS };

/* Files of instructions and questions hold such texts. */
bool neutral_reads(const struct dataset *d);

/* One tree of NEUTRAL_PARTS leaves, label weights 1, of text i of data: the user's turn from its
 * second token up to the place of the answer, with the template's tokens behind the words; and the
 * answer, or without one the place of its first token alone. ERR_REFUSED names a text beyond
 * data.max_length. */
MUST_USE enum err neutral_tree(struct render *r, const struct dataset *data, uint32_t i,
                               struct forest_trees *out, struct errbuf *e);

#endif
