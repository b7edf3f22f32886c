/* matrix_work.h - what training a variant computes, counted from its real plan and forest, and the
 * model and machine settings it would be trained with.
 * Owns: the count. Never: trains. Blocks: opens model and data, tokenises. */
#ifndef PFT_MATRIX_WORK_H
#define PFT_MATRIX_WORK_H

#include "cli/matrix.h"
#include "common/base/hash.h"
#include "common/tensor/shape.h"
#include "common/wire/message.h"
#include "coordinator/tree_work.h"

struct matrix_work {
    struct tree_work train; /* all steps; zero for a variant without training */
    double flops;           /* of training: useful operations, forward and backward */
    double reference_flops; /* of the reference that DPO scores first */
    struct model_shape shape;
    struct lora_config lora;
    char model[128], quantisation[32], model_hash[HASH_SHA256_HEX];
    char train_hash[HASH_SHA256_HEX], test_hash[HASH_SHA256_HEX]; /* of the data files, or "" */
    char kernels[WIRE_NAME_BYTES], precision[8];
};

MUST_USE enum err matrix_work_count(const struct matrix_variant *v, struct matrix_work *out,
                                    struct errbuf *e);

#endif
