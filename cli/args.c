/* args.c - parsing of options. */
#include "cli/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(const struct args *a)
{
    (void)printf("usage: %s\n%s\n", a->usage, a->what);
    for (int i = 0; i < a->n_options; i++) {
        char left[64];
        const struct args_option *o = &a->options[i];
        (void)snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "",
                       o->value ? o->value : "");
        (void)printf("  %-24s %s%s\n", left, o->what, o->count ? " (may be repeated)" : "");
    }
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] != '\0' && a[n] == b[n]) {
        n++;
    }
    return n;
}

static enum err unknown(const struct args *a, const char *word, struct errbuf *e)
{
    const char *best = "--help";
    size_t most = 0;
    for (int i = 0; i < a->n_options; i++) {
        size_t n = common_prefix(word, a->options[i].name);
        if (n > most) {
            most = n;
            best = a->options[i].name;
        }
    }
    return err_set(e, ERR_USAGE, "unknown option '%s', the nearest is %s; usage: %s", word, best,
                   a->usage);
}

static enum err take_value(const struct args *a, const struct args_option *o, const char *value,
                           struct errbuf *e)
{
    if (!value) {
        return err_set(e, ERR_USAGE, "%s needs a value (%s); usage: %s", o->name, o->value,
                       a->usage);
    }
    if (!o->count) {
        *o->into = value;
        return OK;
    }
    if (*o->count >= ARGS_REPEATS) {
        return err_set(e, ERR_USAGE, "%s came more than %d times", o->name, ARGS_REPEATS);
    }
    o->into[(*o->count)++] = value;
    return OK;
}

static enum err take_option(const struct args *a, int argc, char **argv, int *i, struct errbuf *e)
{
    const char *word = argv[*i];
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    for (int k = 0; k < a->n_options; k++) {
        const struct args_option *o = &a->options[k];
        if (strlen(o->name) != length || memcmp(o->name, word, length) != 0) {
            continue;
        }
        if (o->flag) {
            *o->flag = true;
            return equals ? err_set(e, ERR_USAGE, "%s takes no value", o->name) : OK;
        }
        const char *value = equals ? equals + 1 : NULL;
        if (!equals && *i + 1 < argc) {
            value = argv[++*i];
        }
        return take_value(a, o, value, e);
    }
    return unknown(a, word, e);
}

enum err args_parse(struct args *a, int argc, char **argv, struct errbuf *e)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(a);
            return ERR_STATE;
        }
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            enum err error = take_option(a, argc, argv, &i, e);
            if (error != OK) {
                return error;
            }
        } else if (a->n_positional < ARGS_POSITIONAL) {
            a->positional[a->n_positional++] = argv[i];
        } else {
            return err_set(e, ERR_USAGE, "'%s' is one word too many; usage: %s", argv[i], a->usage);
        }
    }
    return OK;
}

enum err args_number(const char *option, const char *text, long least, long most, long *out,
                     struct errbuf *e)
{
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < least || value > most) {
        return err_set(e, ERR_USAGE, "%s is '%s', a whole number from %ld to %ld is needed", option,
                       text, least, most);
    }
    *out = value;
    return OK;
}

enum err args_positive(const char *option, const char *text, double most, double *out,
                       struct errbuf *e)
{
    char *end = NULL;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !(*out > 0.0 && *out <= most)) {
        return err_set(e, ERR_USAGE, "%s: expected a number above 0 and at most %g, found '%s'",
                       option, most, text);
    }
    return OK;
}
