/* tokenize_bench_tool.c - how fast text becomes tokens on one core.
 *
 *     tokenize_bench_tool MODEL TEXT [REPEATS]
 *
 * Tokenises each line of TEXT by itself, REPEATS times over (3), and prints bytes, tokens, seconds
 * of processor time and MB/s of the best round, as JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "common/text/tokenizer.h"

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum err round_of(const struct tokenizer *tok, const char *text, size_t bytes,
                         struct token_list *list, uint64_t *tokens, struct errbuf *e)
{
    enum err error = OK;
    *tokens = 0;
    for (size_t at = 0; at < bytes && error == OK;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t n = end ? (size_t)(end - text) + 1 - at : bytes - at;
        list->count = 0;
        error = tokenizer_encode(tok, text + at, n, list, e);
        *tokens += list->count;
        at += n;
    }
    return error;
}

static enum err bench(const struct tokenizer *tok, const char *path, int repeats, struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    uint64_t tokens = 0;
    double best = 0.0;
    struct token_list list = {0};
    enum err error = file_read(path, LIMIT_JSON_BYTES, &text, &bytes, e);
    for (int i = 0; i < repeats && error == OK; i++) {
        double begin = cpu_s();
        error = round_of(tok, text, bytes, &list, &tokens, e);
        double spent = cpu_s() - begin;
        best = i == 0 || spent < best ? spent : best;
    }
    if (error == OK) {
        (void)printf("{\"bytes\":%zu,\"tokens\":%" PRIu64 ",\"cpu_s\":%.4f,\"MB_per_s\":%.2f}\n",
                     bytes, tokens, best, (double)bytes / 1e6 / (best > 0.0 ? best : 1e-9));
    }
    token_list_free(&list);
    mem_free(text);
    return error;
}

int main(int argc, char **argv)
{
    struct errbuf e = {{0}};
    struct model_file *model = NULL;
    struct tokenizer *tok = NULL;
    if (argc < 3 || argc > 4) {
        (void)fprintf(stderr, "usage: tokenize_bench_tool MODEL TEXT [REPEATS]\n");
        return 2;
    }
    long repeats = argc > 3 ? strtol(argv[3], NULL, 10) : 3;
    enum err error = model_open(argv[1], &model, &e);
    if (error == OK) {
        error = tokenizer_open(model, &tok, &e);
    }
    if (error == OK) {
        error = bench(tok, argv[2], repeats > 0 && repeats < 1000 ? (int)repeats : 1, &e);
    }
    if (error != OK) {
        (void)fprintf(stderr, "tokenize_bench_tool: %s\n", e.text);
    }
    if (tok) {
        tokenizer_close(&tok);
    }
    model_close(&model);
    return error == OK ? 0 : 1;
}
