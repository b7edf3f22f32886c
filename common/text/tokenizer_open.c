/* tokenizer_open.c - the tokenizer that belongs to a model file: which loader reads it. */
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "common/text/tokenizer.h"
#include "common/text/tokenizer_source.h"

enum { LIMIT_TOKENIZER_JSON_BYTES = 128 << 20 };

static enum err open_json(const char *path, uint32_t vocab, struct tokenizer **out,
                          struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    enum err error = file_read(path, LIMIT_TOKENIZER_JSON_BYTES, &text, &bytes, e);
    if (error != OK) {
        return error;
    }
    error = tokenizer_from_json(text, bytes, vocab, out, e);
    mem_free(text);
    return error == OK ? OK : err_prefix(e, error, "%s", path);
}

static enum err open_gguf(const struct gguf *gguf, uint32_t vocab, struct tokenizer **out,
                          struct errbuf *e)
{
    struct tokenizer_source source = {0};
    enum err error = tokenizer_gguf_read(gguf, vocab, &source, e);
    if (error == OK) {
        error = tokenizer_new(&source, vocab, out, e);
    }
    tokenizer_source_free(&source);
    return error;
}

enum err tokenizer_open(const struct model_file *mf, struct tokenizer **out, struct errbuf *e)
{
    const char *json = model_tokenizer_json(mf);
    uint32_t vocab = model_shape(mf)->vocab;
    *out = NULL;
    enum err error =
        json ? open_json(json, vocab, out, e) : open_gguf(model_gguf(mf), vocab, out, e);
    if (error != OK) {
        return json ? error : err_prefix(e, error, "%s", model_path(mf));
    }
    tokenizer_note(*out, (struct tokenizer_notes){.context = model_context(mf),
                                                  .wants_bos = model_wants_bos(mf)});
    return OK;
}
