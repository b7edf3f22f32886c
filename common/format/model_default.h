/* model_default.h - where scripts/fetch-model puts the default model.
 * Owns: the name of that file. Never: downloads. */
#ifndef PFT_MODEL_DEFAULT_H
#define PFT_MODEL_DEFAULT_H

#include "common/base/err.h"
#include "common/base/file.h"

/* The pft cache folder: $PFT_CACHE, else $XDG_CACHE_HOME/pft, else $HOME/.cache/pft. ERR_NOT_FOUND
 * when none of the three is set. Reads the environment: before threads start. */
MUST_USE enum err model_cache_folder(char out[FILE_PATH_BYTES], struct errbuf *e);

/* Resolves a model argument: "" and "default" mean the fetched default model (ERR_NOT_FOUND names
 * the script that fetches it), anything else is taken as a path. */
MUST_USE enum err model_resolve(const char *name, char out[FILE_PATH_BYTES], struct errbuf *e);

#endif
