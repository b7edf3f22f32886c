/* tokenizer_json.c - a Hugging Face tokenizer.json. Everything that changes what text becomes is
 * compared with what this program knows; what is not known is refused by name, never guessed.
 * Post-processor, decoder, truncation and padding are not used: turns are explicit, and decoding is
 * the inverse of the byte alphabet. */
#include <jansson.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"
#include "common/text/byte_alphabet.h"
#include "common/text/tokenizer_source.h"

struct tokenizer_json {
    json_t *root;
};

#define KNOWN_PRE_TOKENIZERS                                                                       \
    "known are ByteLevel, Sequence[Digits(individual), ByteLevel], and Sequence[Split(pattern of " \
    "Llama 3 or Qwen 2), ByteLevel]"

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Absent or null. */
static bool is_unset(const json_t *value)
{
    return !value || json_is_null(value);
}

static const char *type_name(const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "type"));
    return name ? name : "without a type";
}

static bool is_type(const json_t *object, const char *type)
{
    return is_text(json_object_get(object, "type"), type);
}

/* ---- normalizer and pre-tokenizer ---- */

static enum err read_normalizer(const json_t *value, struct tokenizer_source *s, struct errbuf *e)
{
    if (is_type(value, "Sequence") && json_array_size(json_object_get(value, "normalizers")) == 1) {
        value = json_array_get(json_object_get(value, "normalizers"), 0);
    }
    if (is_unset(value)) {
        return OK;
    }
    if (!is_type(value, "NFC")) {
        char show[TOKEN_SHOW_BYTES];
        const char *name = type_name(value);
        return err_set(e, ERR_UNSUPPORTED, "normalizer '%s'; none (null) and NFC are supported",
                       token_show(show, name, strlen(name)));
    }
    s->nfc = true;
    return OK;
}

/* ByteLevel with the given use_regex (true unless it says otherwise) and no prefix space. */
static bool is_byte_level(const json_t *value, bool use_regex)
{
    const json_t *regex = json_object_get(value, "use_regex");
    return is_type(value, "ByteLevel") &&
           json_is_false(json_object_get(value, "add_prefix_space")) &&
           (regex ? json_is_true(regex) : true) == use_regex && (!regex || json_is_boolean(regex));
}

static bool is_split(const json_t *value, const char *pattern)
{
    const json_t *regex = json_object_get(json_object_get(value, "pattern"), "Regex");
    return is_type(value, "Split") && is_text(regex, pattern) &&
           is_text(json_object_get(value, "behavior"), "Isolated") &&
           json_is_false(json_object_get(value, "invert"));
}

static bool known_pair(const json_t *first, const json_t *second, enum pretokenizer *pre)
{
    if (is_type(first, "Digits") && json_is_true(json_object_get(first, "individual_digits")) &&
        is_byte_level(second, true)) {
        *pre = PRE_DIGIT_GPT2;
        return true;
    }
    if (!is_byte_level(second, false)) {
        return false;
    }
    if (is_split(first, PRETOKENIZER_LLAMA3_PATTERN)) {
        *pre = PRE_LLAMA3;
        return true;
    }
    if (is_split(first, PRETOKENIZER_QWEN2_PATTERN)) {
        *pre = PRE_QWEN2;
        return true;
    }
    return false;
}

static enum err read_pre_tokenizer(const json_t *value, struct tokenizer_source *s,
                                   struct errbuf *e)
{
    const json_t *list = json_object_get(value, "pretokenizers");
    size_t count = json_array_size(list);
    if (is_byte_level(value, true)) {
        s->pre = PRE_GPT2;
        return OK;
    }
    if (is_type(value, "Sequence") && count == 1 && is_byte_level(json_array_get(list, 0), true)) {
        s->pre = PRE_GPT2;
        return OK;
    }
    if (is_type(value, "Sequence") && count == 2 &&
        known_pair(json_array_get(list, 0), json_array_get(list, 1), &s->pre)) {
        return OK;
    }
    char show[3][TOKEN_SHOW_BYTES];
    const char *name = is_unset(value) ? "null" : type_name(value);
    const char *first = count > 0 ? type_name(json_array_get(list, 0)) : "";
    const char *last = count > 1 ? type_name(json_array_get(list, count - 1)) : "";
    return err_set(
        e, ERR_UNSUPPORTED,
        "pre_tokenizer '%s'%s%s%s%s%s with these settings is not supported; " KNOWN_PRE_TOKENIZERS,
        token_show(show[0], name, strlen(name)), count > 0 ? " [" : "",
        token_show(show[1], first, strlen(first)), count > 1 ? ", " : "",
        token_show(show[2], last, strlen(last)), count > 0 ? "]" : "");
}

/* ---- model ---- */

static enum err check_model(const json_t *model, struct tokenizer_source *s, struct errbuf *e)
{
    static const char *const EMPTY[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    char show[TOKEN_SHOW_BYTES];
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model) || (type && !is_text(type, "BPE"))) {
        const char *name = json_is_object(model) ? type_name(model) : json_doc_kind(model);
        return err_set(e, ERR_UNSUPPORTED, "model type '%s'; only BPE is supported",
                       token_show(show, name, strlen(name)));
    }
    for (size_t i = 0; i < sizeof EMPTY / sizeof EMPTY[0]; i++) {
        const json_t *value = json_object_get(model, EMPTY[i]);
        if (!is_unset(value) && !is_text(value, "")) {
            return err_set(e, ERR_UNSUPPORTED, "model.%s is set; byte-level BPE has none",
                           EMPTY[i]);
        }
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_unset(dropout) && json_number_value(dropout) != 0.0) {
        return err_set(e, ERR_UNSUPPORTED, "model.dropout is set; only null is supported");
    }
    if (json_is_true(json_object_get(model, "byte_fallback"))) {
        return err_set(e, ERR_UNSUPPORTED, "model.byte_fallback is true; byte-level BPE has none");
    }
    s->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    s->unknown_tokens = !is_unset(json_object_get(model, "unk_token"));
    return OK;
}

/* The slot of an id, growing the array over the ids below it. */
static enum err token_slot(struct tokenizer_source *s, size_t *capacity, const char *text,
                           size_t bytes, const json_t *id, uint32_t vocab,
                           struct token_source **slot, struct errbuf *e)
{
    char show[TOKEN_SHOW_BYTES];
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= (json_int_t)vocab || value >= LIMIT_VOCAB) {
        return err_set(e, ERR_RANGE,
                       "token '%s' needs an integer id of 0 to %u, the model's vocabulary",
                       token_show(show, text, bytes), vocab - 1);
    }
    size_t need = (size_t)value + 1;
    size_t old = *capacity;
    void *tokens = s->tokens;
    enum err error = mem_grow(&tokens, capacity, need, sizeof *s->tokens, LIMIT_VOCAB);
    s->tokens = tokens;
    if (error != OK) {
        return err_set(e, error, "no memory for %zu tokens", need);
    }
    for (size_t i = old; i < *capacity; i++) {
        s->tokens[i] = (struct token_source){0};
    }
    s->tokens_count = need > s->tokens_count ? need : s->tokens_count;
    *slot = &s->tokens[value];
    return OK;
}

static enum err read_vocab(json_t *vocab_object, uint32_t vocab, struct tokenizer_source *s,
                           size_t *capacity, struct errbuf *e)
{
    if (!json_is_object(vocab_object)) {
        return err_set(e, ERR_PARSE, "model.vocab is missing or no object");
    }
    for (void *at = json_object_iter(vocab_object); at;
         at = json_object_iter_next(vocab_object, at)) {
        char show[2][TOKEN_SHOW_BYTES];
        const char *text = json_object_iter_key(at);
        size_t bytes = strlen(text);
        struct token_source *slot = NULL;
        enum err error =
            token_slot(s, capacity, text, bytes, json_object_iter_value(at), vocab, &slot, e);
        if (error != OK) {
            return error;
        }
        CHECK(slot);
        if (slot->kind != TOKEN_ABSENT) {
            return err_set(e, ERR_PARSE, "model.vocab: '%s' and '%s' have the same id %zu",
                           token_show(show[0], slot->text, slot->bytes),
                           token_show(show[1], text, bytes), (size_t)(slot - s->tokens));
        }
        *slot = (struct token_source){.text = text, .bytes = bytes, .kind = TOKEN_TEXT};
    }
    return OK;
}

/* An added token may repeat an entry of the vocabulary; it then takes that entry over. */
static enum err read_added(const json_t *added, const json_t *vocab_object, uint32_t vocab,
                           struct tokenizer_source *s, size_t *capacity, struct errbuf *e)
{
    if (!is_unset(added) && !json_is_array(added)) {
        return err_set(e, ERR_PARSE, "added_tokens is no array");
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        char show[2][TOKEN_SHOW_BYTES];
        const json_t *entry = json_array_get(added, i);
        const char *text = json_string_value(json_object_get(entry, "content"));
        const json_t *id = json_object_get(entry, "id");
        struct token_source *slot = NULL;
        if (!text) {
            return err_set(e, ERR_PARSE, "added_tokens[%zu] has no content", i);
        }
        size_t bytes = strlen(text);
        const json_t *same = json_object_get(vocab_object, text);
        enum err error = token_slot(s, capacity, text, bytes, id, vocab, &slot, e);
        if (error != OK) {
            return error;
        }
        CHECK(slot);
        if ((slot->kind != TOKEN_ABSENT &&
             (slot->kind == TOKEN_SPECIAL || strcmp(slot->text, text) != 0)) ||
            (same && json_integer_value(same) != json_integer_value(id))) {
            return err_set(e, ERR_PARSE,
                           "added_tokens[%zu] '%s' with id %lld contradicts '%s' of that id or its "
                           "own entry in model.vocab",
                           i, token_show(show[0], text, bytes), (long long)json_integer_value(id),
                           token_show(show[1], slot->text ? slot->text : "", slot->bytes));
        }
        *slot = (struct token_source){.text = text, .bytes = bytes, .kind = TOKEN_SPECIAL};
    }
    return OK;
}

static bool read_merge(const json_t *entry, struct merge_source *merge)
{
    const json_t *left = json_array_get(entry, 0);
    const json_t *right = json_array_get(entry, 1);
    if (json_is_string(entry)) {
        return merge_split(json_string_value(entry), json_string_length(entry), merge);
    }
    if (json_array_size(entry) != 2 || !json_is_string(left) || !json_is_string(right)) {
        return false;
    }
    *merge = (struct merge_source){.left = json_string_value(left),
                                   .right = json_string_value(right),
                                   .left_bytes = json_string_length(left),
                                   .right_bytes = json_string_length(right)};
    return true;
}

static enum err read_merges(const json_t *list, struct tokenizer_source *s, struct errbuf *e)
{
    if (!json_is_array(list)) {
        return err_set(e, ERR_PARSE, "model.merges is missing or no array");
    }
    s->merges_count = json_array_size(list);
    s->merges = mem_calloc(s->merges_count, sizeof *s->merges);
    if (!s->merges) {
        return err_set(e, ERR_NOMEM, "no memory for %zu merges", s->merges_count);
    }
    for (size_t i = 0; i < s->merges_count; i++) {
        if (!read_merge(json_array_get(list, i), &s->merges[i])) {
            return err_set(e, ERR_PARSE,
                           "model.merges[%zu]: \"a b\" with one space or [\"a\", \"b\"] is needed",
                           i);
        }
    }
    return OK;
}

static enum err read_root(json_t *root, uint32_t vocab, struct tokenizer_source *s,
                          struct errbuf *e)
{
    size_t capacity = 0;
    const json_t *model = json_object_get(root, "model");
    json_t *vocab_object = json_object_get(model, "vocab");
    enum err error = check_model(model, s, e);
    if (error == OK) {
        error = read_normalizer(json_object_get(root, "normalizer"), s, e);
    }
    if (error == OK) {
        error = read_pre_tokenizer(json_object_get(root, "pre_tokenizer"), s, e);
    }
    if (error == OK) {
        error = read_vocab(vocab_object, vocab, s, &capacity, e);
    }
    if (error == OK) {
        error =
            read_added(json_object_get(root, "added_tokens"), vocab_object, vocab, s, &capacity, e);
    }
    if (error == OK) {
        error = read_merges(json_object_get(model, "merges"), s, e);
    }
    return error;
}

enum err tokenizer_json_read(const char *text, size_t bytes, uint32_t vocab,
                             struct tokenizer_json **json, struct tokenizer_source *source,
                             struct errbuf *e)
{
    *json = NULL;
    *source = (struct tokenizer_source){0};
    struct tokenizer_json *made = mem_calloc(1, sizeof *made);
    if (!made) {
        return err_set(e, ERR_NOMEM, "no memory for tokenizer.json");
    }
    enum err error = json_doc_parse(text, bytes, &made->root, e);
    if (error == OK) {
        error = read_root(made->root, vocab, source, e);
    }
    if (error != OK) {
        tokenizer_json_free(&made);
        tokenizer_source_free(source);
    }
    *json = made;
    return error;
}

void tokenizer_json_free(struct tokenizer_json **json)
{
    if (*json) {
        json_decref((*json)->root);
        mem_free(*json);
    }
    *json = NULL;
}
