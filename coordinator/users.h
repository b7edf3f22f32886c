/* users.h - simulated users: who they are, which scenarios they are asked and what they pick.
 *
 * A user holds one pole of an axis and picks evenly among the options that carry it. A mixed user
 * does so in a share of the questions and takes the other pole in the rest; a changing one turns to
 * the other pole for good. Asked are the axis's scenarios that offer both poles, in an order of the
 * user's own, none twice before all have come.
 *
 * Owns: the lists of scenarios by axis. Never: scores, models. Everything is a pure function of
 * (data, seed, user). Borrows the dataset. Single-threaded. */
#ifndef PFT_USERS_H
#define PFT_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/dataset.h"

struct users;

struct user {
    uint32_t axis;
    uint32_t side;   /* the pole held, 0 or 1 */
    uint32_t number; /* told apart by this; any number */
    double share;    /* of questions answered as `side`; 1: always */
    uint32_t turn;   /* choices before the user turns to the other pole; UINT32_MAX: never */
};

struct user_choice {
    uint32_t scenario; /* of the dataset */
    uint32_t option;   /* what was picked */
    uint32_t side;     /* the pole the user answered as */
};

/* n_axes: of the values the dataset was loaded with; scenarios without an axis are left out. */
MUST_USE enum err users_new(const struct dataset *data, uint32_t n_axes, uint64_t seed,
                            struct users **out);
void users_free(struct users **u); /* NULL inside is fine */

/* The scenarios of an axis that offer both poles, in file order. */
const uint32_t *users_scenarios(const struct users *u, uint32_t axis, uint32_t *n);

/* The first n questions the user is asked, with the choices; the same for every n. The axis must
 * have a scenario. ERR_NOMEM only. */
MUST_USE enum err users_choose(const struct users *u, const struct user *who, uint32_t n,
                               struct user_choice *out);

/* The option the user picks in a scenario as its `number`-th question, under the pole held then. */
struct user_choice users_answer(const struct users *u, const struct user *who, uint32_t number,
                                uint32_t scenario);

#endif
