/* hf_config.h - config.json of a Hugging Face folder: what a Llama needs from it, and a refusal of
 * everything this engine would compute differently from what the file asks for.
 * Owns: the keys and their defaults (those of transformers' LlamaConfig). Never: files. */
#ifndef PFT_HF_CONFIG_H
#define PFT_HF_CONFIG_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/tensor/shape.h"

/* Fills and checks a shape from the text of a config.json. The message names the key, its value and
 * what is supported. Pure; any thread. */
MUST_USE enum err hf_config_parse(const char *text, size_t n, struct model_shape *shape,
                                  struct errbuf *e);

#endif
