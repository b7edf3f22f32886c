/* unicode_class.c - the class table, from PCRE2's Unicode properties. */
#include "common/text/unicode_class.h"

#include <assert.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/text/utf8.h"

/* Code points are shown to PCRE2 a block at a time, so that the subject stays small. */
enum { BLOCK_POINTS = 4096, BLOCK_BYTES = BLOCK_POINTS * 4 };

static_assert(UTF8_CODE_POINTS % BLOCK_POINTS == 0, "blocks tile the code points");

struct class_pattern {
    enum unicode_class bit;
    const char *pattern;
};

/* \s is not used: PCRE2 counts U+180E as a space, Unicode and Hugging Face do not. */
static const struct class_pattern PATTERNS[] = {
    {CLASS_LETTER, "\\p{L}+"},
    {CLASS_NUMBER, "\\p{N}+"},
    {CLASS_SPACE, "[\\p{Z}\\x09-\\x0d\\x85]+"},
    {CLASS_NFC_UNSURE,
     "[\\p{M}\\x{374}\\x{37E}\\x{387}\\x{958}-\\x{95F}\\x{9DC}-\\x{9DF}\\x{A33}-\\x{A36}\\x{A59}-"
     "\\x{A5E}"
     "\\x{B5C}\\x{B5D}\\x{F43}-\\x{F69}\\x{1161}-\\x{11C2}\\x{1F71}-\\x{1FFD}\\x{2000}\\x{2001}\\x{"
     "2126}"
     "\\x{212A}\\x{212B}\\x{2329}\\x{232A}\\x{2ADC}\\x{F900}-\\x{FAFF}\\x{FB1D}-\\x{FB4E}"
     "\\x{1D15E}-\\x{1D164}\\x{1D1BB}-\\x{1D1C0}\\x{2F800}-\\x{2FA1D}]+"},
};
enum { PATTERN_COUNT = sizeof PATTERNS / sizeof PATTERNS[0] };

struct block {
    uint32_t first;
    size_t bytes;
    char text[BLOCK_BYTES];
};

static void *pcre_malloc(size_t bytes, void *context)
{
    (void)context;
    return mem_calloc(bytes, 1);
}

static void pcre_free(void *block, void *context)
{
    (void)context;
    mem_free(block);
}

static void fill_block(struct block *block, uint32_t first)
{
    block->first = first;
    block->bytes = 0;
    for (uint32_t code = first; code < first + BLOCK_POINTS; code++) {
        if (code < 0xD800 || code >= 0xE000) {
            block->bytes += utf8_put(block->text + block->bytes, code);
        }
    }
}

static void mark(struct unicode_classes *classes, const struct block *block, size_t begin,
                 size_t end, enum unicode_class bit)
{
    for (size_t i = begin; i < end;) {
        uint32_t code;
        i += utf8_next(block->text + i, &code);
        classes->of[code] |= (uint8_t)bit;
    }
}

static enum err mark_block(struct unicode_classes *classes, const struct block *block,
                           const pcre2_code *code, pcre2_match_data *match, enum unicode_class bit,
                           struct errbuf *e)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
    for (size_t at = 0; at < block->bytes; at = found[1]) {
        int rc = pcre2_match(code, (PCRE2_SPTR)block->text, block->bytes, at, PCRE2_NO_UTF_CHECK,
                             match, NULL);
        if (rc == PCRE2_ERROR_NOMATCH) {
            return OK;
        }
        if (rc < 0) {
            return err_set(e, rc == PCRE2_ERROR_NOMEMORY ? ERR_NOMEM : ERR_STATE,
                           "PCRE2 cannot classify the characters from U+%04X on (error %d)",
                           (unsigned)block->first, rc);
        }
        CHECK(found[1] > at);
        mark(classes, block, found[0], found[1], bit);
    }
    return OK;
}

static enum err mark_all(struct unicode_classes *classes, struct block *block,
                         pcre2_general_context *general, const struct class_pattern *p,
                         struct errbuf *e)
{
    int number = 0;
    PCRE2_SIZE offset = 0;
    enum err error = OK;
    pcre2_compile_context *compile = pcre2_compile_context_create(general);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)p->pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &number, &offset, compile);
    pcre2_match_data *match = pcre2_match_data_create(1, general);
    if (code) {
        /* Only faster; where it is not possible the interpreter gives the same. */
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    }
    if (!compile || !code || !match) {
        error = err_set(e, ERR_NOMEM, "no memory for the Unicode classes");
    }
    for (uint32_t first = 0; error == OK && first < UTF8_CODE_POINTS; first += BLOCK_POINTS) {
        fill_block(block, first);
        error = mark_block(classes, block, code, match, p->bit, e);
    }
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    pcre2_compile_context_free(compile);
    return error;
}

/* "14.0.0" even where the library was built without Unicode support would be a lie: asked first. */
static enum err ask_version(struct unicode_classes *classes, struct errbuf *e)
{
    uint32_t has_unicode = 0;
    int length = pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, NULL);
    (void)pcre2_config(PCRE2_CONFIG_UNICODE, &has_unicode);
    if (!has_unicode || length <= 0 || (size_t)length > sizeof classes->version) {
        return err_set(e, ERR_UNSUPPORTED,
                       "this PCRE2 library was built without Unicode; the tokenizer needs it");
    }
    (void)pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, classes->version);
    return OK;
}

enum err unicode_classes_init(struct unicode_classes *classes, struct errbuf *e)
{
    *classes = (struct unicode_classes){0};
    enum err error = ask_version(classes, e);
    if (error != OK) {
        return error;
    }
    pcre2_general_context *general = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
    struct block *block = mem_calloc(1, sizeof *block);
    classes->of = mem_calloc(UTF8_CODE_POINTS, 1);
    if (!general || !block || !classes->of) {
        (void)err_set(e, ERR_NOMEM, "no memory for the Unicode classes");
        error = ERR_NOMEM;
    }
    for (size_t i = 0; error == OK && i < PATTERN_COUNT; i++) {
        error = mark_all(classes, block, general, &PATTERNS[i], e);
    }
    mem_free(block);
    pcre2_general_context_free(general);
    if (error != OK) {
        unicode_classes_free(classes);
    }
    return error;
}

void unicode_classes_free(struct unicode_classes *classes)
{
    mem_free(classes->of);
    classes->of = NULL;
}
