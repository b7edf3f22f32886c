/* model_default.c - the cache folder and the default model in it. */
#include "common/format/model_default.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char default_model[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

enum err model_cache_folder(char out[FILE_PATH_BYTES], struct errbuf *e)
{
    const char *cache = getenv("PFT_CACHE");
    if (cache && cache[0] != '\0') {
        return file_join(out, ".", cache, e);
    }
    cache = getenv("XDG_CACHE_HOME");
    if (cache && cache[0] != '\0') {
        return file_join(out, cache, "pft", e);
    }
    cache = getenv("HOME");
    if (cache && cache[0] != '\0') {
        return file_join(out, cache, ".cache/pft", e);
    }
    return err_set(e, ERR_NOT_FOUND,
                   "no cache folder: none of PFT_CACHE, XDG_CACHE_HOME and HOME is set");
}

enum err model_resolve(const char *name, char out[FILE_PATH_BYTES], struct errbuf *e)
{
    char cache[FILE_PATH_BYTES];
    if (name[0] != '\0' && strcmp(name, "default") != 0) {
        int n = snprintf(out, FILE_PATH_BYTES, "%s", name);
        return n < FILE_PATH_BYTES ? OK
                                   : err_set(e, ERR_RANGE, "model path is longer than %d bytes",
                                             FILE_PATH_BYTES - 1);
    }
    enum err error = model_cache_folder(cache, e);
    if (error == OK) {
        error = file_join(out, cache, default_model, e);
    }
    if (error == OK && !file_exists(out)) {
        error = err_set(e, ERR_NOT_FOUND,
                        "the default model is not at %s: scripts/fetch-model puts it there, or set "
                        "model.path (pft) or --model (pft-worker) to a model of your own",
                        out);
    }
    return error;
}
