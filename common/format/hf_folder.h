/* hf_folder.h - the safetensors of a Hugging Face folder, in one file or in shards.
 * Owns: the open files, the rules for model.safetensors.index.json. Never: config.json, meaning. */
#ifndef PFT_HF_FOLDER_H
#define PFT_HF_FOLDER_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/format/safetensors.h"

struct hf_folder {
    size_t n_files;
    struct safetensors **files; /* [n_files] */
};

/* Opens model.safetensors, or every shard that model.safetensors.index.json names. A shard's name
 * is a plain file name that ends in .safetensors; each tensor lies in the shard the index says, and
 * in no other. The caller closes it with hf_folder_close. Blocks on the disk. */
MUST_USE enum err hf_folder_open(const char *path, struct hf_folder *folder, struct errbuf *e);
void hf_folder_close(struct hf_folder *folder); /* a zeroed one is fine */

/* The tensor of a name and the file it lies in; NULL when there is none. */
const struct safetensors_tensor *hf_folder_find(const struct hf_folder *folder, const char *name,
                                                const struct safetensors **file);

#endif
