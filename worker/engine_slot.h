/* engine_slot.h - what is inside an engine and a slot; for the engine_*.c and probe.c alone. */
#ifndef PFT_ENGINE_SLOT_H
#define PFT_ENGINE_SLOT_H

#include <stdatomic.h>

#include "worker/engine.h"
#include "worker/model/network.h"

struct engine {
    struct engine_config config;
    struct model model;
};

struct engine_slot {
    const struct engine *engine;
    struct pass pass;
    double *log_p; /* [labels] */
    float *label_weights;
    double *leaves;   /* [2 * leaves] */
    float *grad_room; /* [adapter.words], where the backend's memory is not the host's */
    size_t log_p_capacity, label_weights_capacity, leaves_capacity;
    atomic_uint_least64_t progress;
};

#endif
