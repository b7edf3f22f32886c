/* limits.h - a maximum for every queue, frame, buffer and count that crosses a module, in one
 * place. Each name ends in its unit. Static asserts state how they relate. */
#ifndef PFT_LIMITS_H
#define PFT_LIMITS_H

#include <assert.h>
#include <stdint.h>

/* Trees and units (DESIGN §3, §4). */
enum {
    LIMIT_TREE_TOKENS = 1 << 16,  /* rows of one tree */
    LIMIT_TREE_NODES = 4096,      /* nodes of one tree */
    LIMIT_TREE_LABELS = 1 << 17,  /* labels of one tree */
    LIMIT_TREE_LEAVES = 4096,     /* leaves of one tree */
    LIMIT_TREE_TERMS = 4096,      /* terms of one tree */
    LIMIT_UNIT_TREES = 1024,      /* trees of one unit */
    LIMIT_STEP_UNITS = 2047,      /* units of one step: no int64 sum can overflow */
    LIMIT_JOB_UNITS = 64,         /* units of one job */
    LIMIT_FIXED_POINT_SHIFT = 40, /* gradients are int64 at scale 2^40 */
    LIMIT_GRADIENT_BITS = 12,     /* an element at or beyond 2^12 is refused */
};
static_assert((LIMIT_STEP_UNITS + 1) <= 1 << (63 - LIMIT_FIXED_POINT_SHIFT - LIMIT_GRADIENT_BITS),
              "a step's sum of gradients must fit int64");

/* What is generated and captured (common/wire/answers.h, worker/engine.h). */
enum {
    LIMIT_ANSWER_TOKENS = 4096, /* new tokens of one request */
    LIMIT_BRANCHES = 16,        /* sequences of one request that are decoded as one */
    LIMIT_STOPS = 8,            /* tokens that end an answer */
    LIMIT_CAPTURE_SHIFT = 32,   /* sums of activations are int64 at scale 2^32 */
    LIMIT_CAPTURE_BITS = 20,    /* a sum at or beyond 2^20 in one unit is refused */
};
static_assert((LIMIT_STEP_UNITS + 1) <= 1 << (63 - LIMIT_CAPTURE_SHIFT - LIMIT_CAPTURE_BITS),
              "a batch's sum of activations must fit int64");

/* Models. */
enum {
    LIMIT_LAYERS = 512,
    LIMIT_HIDDEN = 1 << 16,
    LIMIT_VOCAB = 1 << 20,
    LIMIT_HEADS = 1024,
    LIMIT_LORA_RANK = 512,
    LIMIT_TENSORS = 1 << 16,
    LIMIT_TENSOR_DIMS = 4,
};

/* Frames on the wire. */
enum {
    LIMIT_HEADER_BYTES = 64 << 10, /* a protobuf header frame */
    LIMIT_JOB_BYTES = 32 << 20,    /* token ids and labels of one job */
    LIMIT_TENSOR_BYTES = 1 << 30,  /* parameters or a gradient */
    LIMIT_FRAMES = 8,              /* frames of one message */
    LIMIT_WORKERS = 4096,
    LIMIT_SLOTS = 256,  /* slots of one worker */
    LIMIT_THREADS = 64, /* of one slot */
    /* Gradient payloads under way to the coordinator: four large ones, of small ones as many as
     * fit into so many bytes. */
    LIMIT_RESULTS_IN_FLIGHT = 64,
    LIMIT_RESULTS_LARGE_IN_FLIGHT = 4,
    LIMIT_RESULTS_BYTES_IN_FLIGHT = 1 << 20,
};

/* Text and data files. */
enum {
    LIMIT_JSON_BYTES = 1 << 30,
    LIMIT_JSON_DEPTH = 64,
    LIMIT_YAML_BYTES = 1 << 20,
    LIMIT_TEXT_BYTES = 1 << 20, /* one string of a data file */
    LIMIT_GROUPS = 1 << 22,     /* prompt groups of a data file */
    LIMIT_AXES = 64,
    LIMIT_OPTIONS = 64, /* options of one scenario */
};

#endif
