/* settings.c - pft config: everything that the table of keys can say about itself. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/base/str.h"
#include "coordinator/config.h"

static const char usage[] = "usage: pft config keys | sample | docs | show FILE [KEY=VALUE]...\n"
                            "  keys    every key with its bounds, default and meaning\n"
                            "  sample  a config file with every key, commented\n"
                            "  docs    the page docs/config.md\n"
                            "  show    reads a config and prints every value as it will be used\n";

static int print(struct str *text)
{
    enum err error = str_ok(text);
    if (error == OK) {
        (void)fputs(text->data, stdout); /* a failure is told at exit (program.h) */
    }
    str_free(text);
    return error == OK ? CLI_OK : cli_explain("pft config", error, &(struct errbuf){{0}});
}

static int show(int argc, char **argv)
{
    struct errbuf e = {0};
    struct run_config *cfg = NULL;
    struct str text = {0};
    enum err error = config_load(argv[2], (const char *const *)(argv + 3), argc - 3, &cfg, &e);
    if (error != OK) {
        return cli_explain("pft config", error, &e);
    }
    config_dump(cfg, &text);
    config_free(&cfg);
    return print(&text);
}

int cli_config(int argc, char **argv)
{
    struct str text = {0};
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        (void)fputs(usage, stdout);
        return CLI_OK;
    }
    if (strcmp(what, "show") == 0 && argc > 2) {
        return show(argc, argv);
    }
    if (argc == 2 && strcmp(what, "keys") == 0) {
        conf_help(config_schema(), &text);
        return print(&text);
    }
    if (argc == 2 && strcmp(what, "sample") == 0) {
        conf_sample(config_schema(), &text);
        return print(&text);
    }
    if (argc == 2 && strcmp(what, "docs") == 0) {
        config_docs(&text);
        return print(&text);
    }
    if (what[0] != '\0') {
        (void)fprintf(stderr, "pft config: '%.40s%s%.40s' is not understood\n", what,
                      argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
    }
    (void)fputs(usage, stderr);
    return CLI_USAGE;
}
