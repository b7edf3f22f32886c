/* users.c - orders of questions and picks from counter-based random numbers. */
#include "coordinator/users.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

enum { KEY_ORDER = 0x6F726465, KEY_PICK = 0x7069636B, KEY_POLE = 0x706F6C65 };

struct users {
    const struct dataset *data;
    uint32_t n_axes;
    uint64_t seed;
    uint32_t *first;     /* [n_axes + 1] */
    uint32_t *scenarios; /* by axis */
};

enum err users_new(const struct dataset *data, uint32_t n_axes, uint64_t seed, struct users **out)
{
    struct users *u = mem_calloc(1, sizeof *u);
    if (!u) {
        return ERR_NOMEM;
    }
    *u = (struct users){.data = data, .n_axes = n_axes, .seed = seed};
    u->first = mem_calloc((size_t)n_axes + 1, sizeof *u->first);
    u->scenarios = mem_calloc(data->n_scenarios, sizeof *u->scenarios);
    if (!u->first || !u->scenarios) {
        users_free(&u);
        return ERR_NOMEM;
    }
    uint32_t n = 0;
    for (uint32_t axis = 0; axis < n_axes; axis++) {
        u->first[axis] = n;
        for (uint32_t i = 0; i < data->n_scenarios; i++) {
            if (data->scenarios[i].axis == axis && dataset_offers_both(&data->scenarios[i])) {
                u->scenarios[n++] = i;
            }
        }
    }
    u->first[n_axes] = n;
    *out = u;
    return OK;
}

void users_free(struct users **u)
{
    if (*u) {
        mem_free((*u)->first);
        mem_free((*u)->scenarios);
        mem_free(*u);
    }
    *u = NULL;
}

const uint32_t *users_scenarios(const struct users *u, uint32_t axis, uint32_t *n)
{
    CHECK(axis < u->n_axes);
    *n = u->first[axis + 1] - u->first[axis];
    return u->scenarios + u->first[axis];
}

/* One key for each user and purpose. */
static uint64_t key_of(const struct users *u, const struct user *who, uint64_t purpose)
{
    return rng_key(u->seed, purpose, (uint64_t)who->axis << 1 | who->side, who->number);
}

struct user_choice users_answer(const struct users *u, const struct user *who, uint32_t number,
                                uint32_t scenario)
{
    const struct data_scenario *s = &u->data->scenarios[scenario];
    uint32_t side = who->side;
    if (number >= who->turn) {
        side = 1 - side;
    }
    if (!((double)rng_unit(key_of(u, who, KEY_POLE), number) < who->share)) {
        side = 1 - side;
    }
    uint32_t held = dataset_side_count(s, side);
    CHECK(held > 0);
    uint64_t nth = rng_below(key_of(u, who, KEY_PICK), number, held);
    uint32_t option = dataset_side_option(s, side, (uint32_t)nth);
    return (struct user_choice){.scenario = scenario, .option = option, .side = side};
}

enum err users_choose(const struct users *u, const struct user *who, uint32_t n,
                      struct user_choice *out)
{
    uint32_t there = 0;
    const uint32_t *all = users_scenarios(u, who->axis, &there);
    CHECK(there > 0);
    uint32_t *order = mem_calloc(there, sizeof *order);
    if (!order) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (i % there == 0) {
            memcpy(order, all, there * sizeof *order);
            rng_shuffle(rng_at(key_of(u, who, KEY_ORDER), i / there), order, there);
        }
        out[i] = users_answer(u, who, i, order[i % there]);
    }
    mem_free(order);
    return OK;
}
