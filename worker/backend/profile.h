/* profile.h - where the time of a slot goes: nanoseconds, useful floating-point operations and
 * bytes by part of the model, in all and by layer. Counted always (a clock read per part and
 * layer), never acted upon. */
#ifndef PFT_PROFILE_H
#define PFT_PROFILE_H

#include <stdint.h>

#define PROFILE_LIST(X)                                                                            \
    X(PROFILE_IDLE, "idle")     /* no unit at hand */                                              \
    X(PROFILE_OTHER, "other")   /* embedding, copies */                                            \
    X(PROFILE_LINEAR, "linear") /* products with frozen weights */                                 \
    X(PROFILE_LORA, "lora")                                                                        \
    X(PROFILE_ATTENTION, "attention")                                                              \
    X(PROFILE_NORM, "norm")                                                                        \
    X(PROFILE_ROPE, "rope")                                                                        \
    X(PROFILE_SWIGLU, "swiglu")                                                                    \
    X(PROFILE_HEAD, "head")                                                                        \
    X(PROFILE_PACK, "pack")   /* lists of the unit, parameters, inputs made bf16 */                \
    X(PROFILE_ROUND, "round") /* gradient to fixed point */                                        \
    X(PROFILE_WAIT, "wait")   /* for the other threads of the slot */

enum profile_part {
#define PROFILE_ENUM(part, text) part,
    PROFILE_LIST(PROFILE_ENUM)
#undef PROFILE_ENUM
        PROFILE_PARTS
};

struct profile {
    uint64_t ns[PROFILE_PARTS];
    uint64_t flops[PROFILE_PARTS]; /* products only; recomputation and masked scores left out */
    uint64_t bytes[PROFILE_PARTS]; /* read and written, each operand of an operation once */
};

/* "linear" */
const char *profile_part_name(enum profile_part part);

#endif
