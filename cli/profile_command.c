/* profile_command.c - pft profile: where the time of a training step goes on this machine.
 * Owns: the words of the command. Never: computes; it makes the units of the config's first step
 * and becomes pft-worker --profile, which takes them from memory through a file descriptor. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/children.h"
#include "cli/cli.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/wire/units_frame.h"
#include "coordinator/batch.h"

enum { WORDS = 32, UNITS_DEFAULT = 4, WORD_BYTES = 64 };

struct profile_words {
    const char *config, *slots, *threads, *units, *repeat;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool layers, json, checkpointing;
};

static enum err read_options(struct profile_words *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--slots", "S", "slots that compute side by side (default: 1)", &o->slots, NULL, NULL},
        {"--threads", "T", "threads of each slot (default: 1)", &o->threads, NULL, NULL},
        {"--units", "N", "units of the first step to compute (default: 4)", &o->units, NULL, NULL},
        {"--repeat", "N", "times, after one that is not counted (default: 3)", &o->repeat, NULL,
         NULL},
        {"--gradient-checkpointing", NULL, "as pft-worker has it", NULL, NULL, &o->checkpointing},
        {"--layers", NULL, "every layer besides the sums", NULL, NULL, &o->layers},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--json", NULL, "print one JSON object, layers included", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft profile CONFIG [--slots S] [--threads T] [--layers] [--json]",
                     .what = "Computes gradients of the config's first step and prints where the "
                             "time went: by part, with rates of operations and bytes.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one CONFIG is needed, %d words were given; usage: %s",
                        a.n_positional, a.usage);
    }
    o->config = a.positional[0];
    return error;
}

/* The units' frame in a file without a name, which the next program inherits. */
static enum err put_units(const struct batch *b, uint32_t n, int *fd, struct errbuf *e)
{
    const struct unit *list[LIMIT_STEP_UNITS];
    for (uint32_t i = 0; i < n; i++) {
        list[i] = &b->units[i];
    }
    size_t bytes = units_frame_bytes(list, n);
    uint8_t *frame = mem_aligned(bytes, 1);
    *fd = memfd_create("pft-units", 0);
    if (!frame || *fd < 0) {
        mem_free(frame);
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of units", bytes);
    }
    units_frame_write(list, n, frame);
    ssize_t written = write(*fd, frame, bytes);
    mem_free(frame);
    return written == (ssize_t)bytes ? OK : err_set(e, ERR_IO, "the units cannot be handed over");
}

struct numbers {
    long slots, threads, units, repeat;
};

static enum err read_numbers(const struct profile_words *o, struct numbers *n, struct errbuf *e)
{
    *n = (struct numbers){1, 1, UNITS_DEFAULT, 3};
    const struct {
        const char *name, *text;
        long most, *to;
    } list[] = {{"--slots", o->slots, LIMIT_SLOTS, &n->slots},
                {"--threads", o->threads, LIMIT_THREADS, &n->threads},
                {"--units", o->units, LIMIT_STEP_UNITS, &n->units},
                {"--repeat", o->repeat, 1000000, &n->repeat}};
    enum err error = OK;
    for (size_t i = 0; i < sizeof list / sizeof list[0] && error == OK; i++) {
        if (list[i].text) {
            error = args_number(list[i].name, list[i].text, 1, list[i].most, list[i].to, e);
        }
    }
    return error;
}

/* Becomes the worker; returns only when that fails. */
static enum err become_worker(const struct profile_words *o, const struct setup *s,
                              const struct numbers *n, int fd, struct errbuf *e)
{
    char bin[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES + 16];
    char lora[WORD_BYTES * 2], tiles[WORD_BYTES], units[WORD_BYTES];
    char slots[WORD_BYTES], threads[WORD_BYTES], repeat[WORD_BYTES];
    const struct lora_config *l = &s->cfg->lora;
    enum err error = children_folder(bin, e);
    if (error != OK) {
        return error;
    }
    (void)snprintf(path, sizeof path, "%s/pft-worker", bin);
    (void)snprintf(lora, sizeof lora, "%u,%.9g,%u,%.9g", l->r, (double)l->alpha, l->targets,
                   (double)l->dropout);
    (void)snprintf(tiles, sizeof tiles, "%u,%u", s->cfg->tile_rows, s->cfg->tile_cols);
    (void)snprintf(units, sizeof units, "/proc/self/fd/%d", fd);
    (void)snprintf(slots, sizeof slots, "%ld", n->slots);
    (void)snprintf(threads, sizeof threads, "%ld", n->threads);
    (void)snprintf(repeat, sizeof repeat, "%ld", n->repeat);
    const char *argv[WORDS] = {
        path,          "--profile",  units,    "--model",  s->model_path, "--kernels", s->kernels,
        "--precision", s->precision, "--lora", lora,       "--tiles",     tiles,       "--slots",
        slots,         "--threads",  threads,  "--repeat", repeat,
    };
    int words = 19;
    if (o->layers) {
        argv[words++] = "--layers";
    }
    if (o->json) {
        argv[words++] = "--json";
    }
    if (o->checkpointing) {
        argv[words++] = "--gradient-checkpointing";
    }
    union { /* execv takes no const; it only reads */
        const char **given;
        char **taken;
    } cast = {.given = argv};
    (void)execv(path, cast.taken);
    return err_set(e, ERR_IO, "%s: cannot be started", path);
}

static enum err profile(const struct profile_words *o, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    struct setup s = {0};
    struct batch b = {0};
    struct numbers n;
    int fd = -1;
    enum err error = read_numbers(o, &n, e);
    if (error == OK) {
        error = config_load(o->config, o->sets, o->n_sets, &cfg, e);
    }
    if (error == OK) {
        error = setup_open(cfg, NULL, true, &s, e);
    }
    if (error == OK) {
        error = batch_train(&s, 0, &b, e);
    }
    if (error == OK) {
        uint32_t units = (uint64_t)n.units < b.n_units ? (uint32_t)n.units : b.n_units;
        error = put_units(&b, units, &fd, e);
    }
    if (error == OK) {
        error = become_worker(o, &s, &n, fd, e);
    }
    batch_free(&b);
    setup_free(&s);
    return error;
}

int cli_profile(int argc, char **argv)
{
    struct profile_words o = {0};
    struct errbuf e = {0};
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = profile(&o, &e);
    }
    return cli_explain("pft profile", error, &e);
}
