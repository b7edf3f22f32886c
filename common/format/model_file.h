/* model_file.h - a Llama-family model on disk, as a Hugging Face folder (config.json, safetensors,
 * tokenizer.json) or as one GGUF file, behind one set of calls in Hugging Face terms.
 *
 * Owns: the open files, the checked list of tensors, the shape, the hash. Never: keeps weights in
 * memory, computes with them. Place in the flow: the first thing both programs open; the
 * coordinator takes shape, tokenizer and hash, the worker the weights.
 *
 * model_open checks everything that can be checked without reading weights: the configuration, that
 * each tensor of a Llama is there, with its shape, inside its file. Files are read with pread into
 * private memory, so a file that shrinks meanwhile gives an error, never a signal. After model_open
 * a model_file is read-only: every call that takes a const pointer is safe from any thread. */
#ifndef PFT_MODEL_FILE_H
#define PFT_MODEL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/tensor/shape.h"

struct gguf; /* common/format/gguf.h */
struct model_file;

enum model_kind { MODEL_HF_FOLDER, MODEL_GGUF_FILE };

enum { MODEL_NAME_BYTES = 128, MODEL_QUANTISATION_BYTES = 16 };
struct model_description {
    char name[MODEL_NAME_BYTES];                 /* of the folder or the file, without .gguf */
    char quantisation[MODEL_QUANTISATION_BYTES]; /* type most weights have: "Q4_1", "BF16" */
    uint64_t parameters;                         /* a tied head counts once */
    uint64_t weight_bytes;                       /* as stored */
};

/* Opens a folder or a .gguf (told apart by what it is, not by its name) and checks it; the message
 * names file, key or tensor, the value and what is supported. Blocks on the disk. The caller closes
 * it with model_close. */
MUST_USE enum err model_open(const char *path, struct model_file **out, struct errbuf *e);
void model_close(struct model_file **mf); /* NULL inside is fine; sets it to NULL */

enum model_kind model_kind(const struct model_file *mf);
/* The path given to model_open. Valid until model_close. */
const char *model_path(const struct model_file *mf);
/* The checked sizes. Valid until model_close. */
const struct model_shape *model_shape(const struct model_file *mf);
struct model_description model_describe(const struct model_file *mf);

/* SHA-256 of the GGUF, or of the sorted lines "name SHA-256\n" of config.json, tokenizer.json and
 * *.safetensors of the folder. Reads every byte once (seconds per GB), then finds the digests in
 * ${PFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pft}/hashes/ by path, size and time of change; a
 * cache that cannot be read or written is passed over without a word. */
MUST_USE enum err model_hash(const struct model_file *mf, char hex[HASH_SHA256_HEX],
                             struct errbuf *e);

/* Rows and columns of a tensor by its Hugging Face name ("model.layers.0.self_attn.q_proj.weight",
 * "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"); a vector has one row.
 * lm_head.weight of a tied model is the embedding. False when a Llama of this shape has no such
 * tensor. */
bool model_tensor_shape(const struct model_file *mf, const char *name, uint32_t *rows,
                        uint32_t *cols);

/* Reads rows [first, first + rows) of that tensor as fp32 in Hugging Face row order (GGUF q and k
 * rows are un-permuted) into out [rows, cols]. ERR_NOT_FOUND for an unknown name, ERR_RANGE for
 * rows that are not there. Values are what the file says, NaN included. Blocks on the disk. */
MUST_USE enum err model_tensor_read(const struct model_file *mf, const char *name, uint32_t first,
                                    uint32_t rows, float *out, struct errbuf *e);

/* Where the tokenizer comes from: the path of tokenizer.json of a folder (NULL for a GGUF), or the
 * metadata of a GGUF (NULL for a folder). Valid until model_close. */
const char *model_tokenizer_json(const struct model_file *mf);
const struct gguf *model_gguf(const struct model_file *mf);

/* Positions the model was made for; 0: the files do not say. */
uint32_t model_context(const struct model_file *mf);
/* The files ask for the begin-of-text token in front of every text. */
bool model_wants_bos(const struct model_file *mf);

#endif
