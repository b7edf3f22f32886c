/* export.h - the trained adapter as a PEFT folder that transformers, vLLM and others load.
 * Writes adapter_config.json, adapter_model.safetensors (fp32, PEFT names), pft.json (prompt
 * template with a worked example, values, base file hash and quantisation), chat_template.jinja and
 * README.md. Owns: nothing. Blocks on the disk: journal thread or after the run.
 * The worked example is pft.json's "example": {"messages": [{"role", "content"}], "prompt": what
 * chat_template.jinja renders for them with the generation header, "answer": a trained answer}. */
#ifndef PFT_EXPORT_H
#define PFT_EXPORT_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/tensor/shape.h"

struct run_config;
struct values;

struct export_input {
    const struct run_config *cfg;
    const struct values *values;
    const struct model_shape *shape;
    const struct lora_config *lora;
    const float *flat; /* [lora_count] in the order of shape.h */
    uint64_t version;  /* committed steps */
    const char *base_name;
    const char *base_quantisation;
    const char *base_hash; /* hex */
};

/* Writes the folder whole (made when absent); each file is replaced atomically. */
MUST_USE enum err export_peft(const char *folder, const struct export_input *in, struct errbuf *e);

/* SHA-256 of the adapter_model.safetensors that export_peft would write / has written. */
MUST_USE enum err export_hash(const char *folder, char hex[65], struct errbuf *e);

#endif
