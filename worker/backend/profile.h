/* profile.h - where the time of a slot goes: nanoseconds and useful floating-point operations by
 * part of the model. Counted always (a clock read per part and layer), never acted upon. */
#ifndef PFT_PROFILE_H
#define PFT_PROFILE_H

#include <stdint.h>

#define PROFILE_LIST(X)                                                                            \
    X(PROFILE_IDLE, "idle")                                                                        \
    X(PROFILE_OTHER, "other")                                                                      \
    X(PROFILE_LINEAR, "linear")                                                                    \
    X(PROFILE_LORA, "lora")                                                                        \
    X(PROFILE_ATTENTION, "attention")                                                              \
    X(PROFILE_NORM, "norm")                                                                        \
    X(PROFILE_ROPE, "rope")                                                                        \
    X(PROFILE_SWIGLU, "swiglu")                                                                    \
    X(PROFILE_HEAD, "head")                                                                        \
    X(PROFILE_ROUND, "round")

enum profile_part {
#define PROFILE_ENUM(part, text) part,
    PROFILE_LIST(PROFILE_ENUM)
#undef PROFILE_ENUM
        PROFILE_PARTS
};

struct profile {
    uint64_t ns[PROFILE_PARTS];
    uint64_t flops[PROFILE_PARTS]; /* products only; recomputation and masked scores left out */
};

#endif
