/* model_hash.h - the one name of a model's content, and the cache that spares reading it again.
 * Owns: what goes into the hash, the cache files. Never: what the files mean. Blocks on the disk.
 */
#ifndef PFT_MODEL_HASH_H
#define PFT_MODEL_HASH_H

#include "common/base/err.h"
#include "common/base/hash.h"

/* SHA-256 of one file. From the cache when path (resolved), size and time of change are those of an
 * earlier call. A cache that cannot be used is passed over. */
MUST_USE enum err model_hash_file(const char *path, char hex[HASH_SHA256_HEX], struct errbuf *e);

/* SHA-256 of the lines "name SHA-256\n", sorted by name in byte order, of config.json,
 * tokenizer.json and every *.safetensors of the folder. */
MUST_USE enum err model_hash_folder(const char *path, char hex[HASH_SHA256_HEX], struct errbuf *e);

#endif
