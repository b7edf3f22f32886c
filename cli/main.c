/* main.c - the pft program: finds the sub-command and hands over. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/base/log.h"
#include "common/base/program.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
    const char *what;
} commands[] = {
    {"run", cli_run,
     "CONFIG [--workers N] [--set KEY=VALUE]... [--out RUN] [--resume [--from-step N]]",
     "evaluate, train, evaluate and export on local workers"},
    {"eval", cli_eval, "RUN|--model FILE --data FILE --values FILE [--readout NAMES] [--json]",
     "evaluate an adapter or a bare model"},
    {"infer", cli_infer, "RUN --history FILE [--pool FILE] [--forget F] [--prior LIST] [--json]",
     "which values a user holds, from past choices; what to ask next"},
    {"generate", cli_generate,
     "RUN|--model FILE --prompt TEXT|--prompts FILE [--value NAME|--mix AXIS=LAMBDA] [--json]",
     "answer prompts"},
    {"chat", cli_chat, "RUN|--model FILE [--value NAME|--mix AXIS=LAMBDA]",
     "talk with an adapter or a bare model"},
    {"capture", cli_capture, "RUN|--model FILE --data FILE --values FILE --axis NAME --out FILE",
     "a control vector from the answers of an axis's two values"},
    {"export", cli_export, "RUN --format peft --out DIR", "write a run's adapter as a PEFT folder"},
    {"data", cli_data, "check|stats|import|forest FILE [--values FILE] [--model FILE]",
     "read, check and describe a data file"},
    {"reproduce", cli_reproduce, "CONFIG [--out DIR] [--workers N] [--dry-run] [--json]",
     "a matrix of variants, evaluations and seeds as one resumable batch, with a report"},
    {"judge", cli_judge, "FILE --values FILE [--base-url URL --judge-model NAME | --train FILE]",
     "score answers in words from 0 to 10"},
    {"profile", cli_profile, "CONFIG [--slots S] [--threads T] [--layers] [--json]",
     "where the time of a training step goes on this machine"},
    {"plan", cli_plan, "CONFIG --from RUN|--tokens-per-s N [--workers LIST] [--bandwidth RATE]",
     "what more workers would make of it: step time, bytes, where the link is full"},
    {"config", cli_config, "keys|sample|docs|show FILE [KEY=VALUE]...",
     "every key of a config with its bounds"},
    {"scale", cli_scale, "RUN N", "N local workers from now on, while pft run goes on"},
    {"submit", cli_submit,
     "CONFIG|eval RUN|eval TASK --to ADDRESS [--set KEY=VALUE]... [--key FILE]",
     "add a task to the list of a standing coordinator"},
    {"jobs", cli_jobs, "--to ADDRESS [--json] [--key FILE]", "the list, in order"},
    {"cancel", cli_cancel, "TASK --to ADDRESS [--key FILE]", "take a task off, or stop it"},
    {"logs", cli_logs, "TASK --to ADDRESS [--follow] [--result] [--key FILE]",
     "what was said, what came out"},
    {"status", cli_status, "RUN|ADDRESS [--json] [--key FILE]",
     "what a running coordinator is doing"},
    {"drain", cli_drain, "RUN|ADDRESS [WORKER] [--key FILE]",
     "workers finish what they compute and leave"},
    {"stop", cli_stop, "RUN|ADDRESS [--key FILE]", "stop a running coordinator; --resume goes on"},
    {"keys", cli_keys, "init|add|list|revoke DIR [NAME] [--role ROLE] [--out FILE]",
     "who may take part over a network"},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    (void)fprintf(to, "pft %s: fine-tune a language model on pairs of conflicting preferences\n\n",
                  PFT_VERSION);
    for (int i = 0; i < COMMANDS; i++) {
        (void)fprintf(to, "  pft %-9s %s\n                %s\n", commands[i].name,
                      commands[i].usage, commands[i].what);
    }
    (void)fprintf(to,
                  "\n  pft COMMAND --help explains one command, pft --version prints the version."
                  "\n  Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 refused, 130 interrupted.\n");
}

/* The command that shares most letters from the start with what was typed. */
static const char *nearest(const char *word)
{
    const char *best = NULL;
    size_t most = 0;
    for (int i = 0; i < COMMANDS; i++) {
        size_t same = 0;
        while (word[same] != '\0' && word[same] == commands[i].name[same]) {
            same++;
        }
        if (same > most) {
            most = same;
            best = commands[i].name;
        }
    }
    return best;
}

int main(int argc, char **argv)
{
    const bool begun = program_begin("pft", &argc, &argv);
    log_init("pft", LOG_INFO);
    if (!begun) {
        return CLI_INTERRUPTED;
    }
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("pft %s\n", PFT_VERSION);
        return CLI_OK;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    const char *near = nearest(argv[1]);
    (void)fprintf(stderr, "pft: unknown command '%s'%s%s%s; pft --help lists them\n", argv[1],
                  near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    return CLI_USAGE;
}
