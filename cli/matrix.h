/* matrix.h - what pft reproduce is asked to do: variants x evaluations x seeds, what the paper
 * reports, and the claims to check, read from one YAML file (docs/reproduce.md has every key).
 * Owns: the texts. Never: runs anything, knows an objective or a readout by name. Every variant's
 * settings are tried against its run config here, so that a mistake is told before anything starts.
 * Read-only once loaded. */
#ifndef PFT_MATRIX_H
#define PFT_MATRIX_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"

enum {
    MATRIX_SEEDS = 16,
    MATRIX_VARIANTS = 64,
    MATRIX_EVALUATIONS = 64,
    MATRIX_FACTS = 64,
    MATRIX_CLAIMS = 64,
    MATRIX_NAME_BYTES = 48,
};

struct matrix_words {
    uint32_t n;
    char **items;
};

/* pft words, run one after the other before a cell's evaluation. */
struct matrix_commands {
    uint32_t n;
    struct matrix_words *items;
};

struct matrix_variant {
    char *name;   /* letters, digits, '-', '_', '.': it names files */
    char *what;   /* one sentence for the report, or "" */
    char *config; /* absolute path of its run config */
    bool trained;
    bool plotted;                    /* among the bars and curves */
    struct matrix_words set;         /* "KEY=VALUE" of the run config */
    struct matrix_words args;        /* more words of each of its evaluations */
    struct matrix_words evaluations; /* names; none: all that do not name their variants */
    struct matrix_commands before;   /* before each of its evaluations */
    struct matrix_commands counts;   /* what they compute the first time: see matrix_evaluation */
    uint32_t n_seeds;                /* of a trained one */
    uint64_t seeds[MATRIX_SEEDS];
};

struct matrix_evaluation {
    char *name, *what;
    char *command;                /* of pft: eval */
    struct matrix_words args;     /* its words */
    struct matrix_words variants; /* names; none: all */
    struct matrix_words parts;    /* more objects of a result that hold shares: "select_all" */
    struct matrix_words needs;    /* variables without which there is no such evaluation */
    struct matrix_words figures;  /* "change.within_3": single numbers of the answer, as columns */
    struct matrix_commands before;
    struct matrix_commands counts; /* what it computes, with --count: words of pft eval or a command
                                    * that is named; none: its own words, when it is an eval */
    char *list;                    /* field of the answer that holds its results: "results" */
    char *measure;                 /* field of a result: "accuracy" */
    char *x;                       /* field of a result that a line plot runs over, "" = none */
    char *note;                    /* printed with its table: what kind of task it is */
    double chance;                 /* NaN: none is drawn */
};

/* What a paper reports, beside our own figure when variant and column are named. */
struct matrix_fact {
    char *what, *reported, *setting, *variant, *column, *note;
};

/* A claim to be checked: better - than > margin, at_least, each_value_at_least, above_words; what
 * is not given is NaN or "". */
struct matrix_claim {
    char *text, *better, *than, *column, *side;
    double margin, at_least, at_most, each_value_at_least, above_words;
};

struct matrix {
    char *title, *lead, *config; /* config: absolute path of the file */
    char *reference;             /* variant that paired differences are taken against, or "" */
    uint32_t n_seeds;
    uint64_t seeds[MATRIX_SEEDS];
    uint32_t n_variants, n_evaluations, n_facts, n_claims;
    struct matrix_variant *variants;
    struct matrix_evaluation *evaluations;
    struct matrix_fact *facts;
    struct matrix_claim *claims;
};

/* Reads and checks a file; a wrong one is refused with file, line, column, key and bound. Words
 * that begin with ./ or ../ count from the file's folder, those with $NAME/ from that variable
 * ($CELL and $RUN stay: matrix_cell.h). Blocks on the disk; reads the environment. The caller frees
 * it. */
MUST_USE enum err matrix_load(const char *path, struct matrix **out, struct errbuf *e);
void matrix_free(struct matrix **m); /* NULL inside is fine */

/* Index by name, -1 when there is none. */
int matrix_variant(const struct matrix *m, const char *name);
int matrix_evaluation(const struct matrix *m, const char *name);

/* Does the variant take the evaluation? */
bool matrix_pairs(const struct matrix *m, uint32_t variant, uint32_t evaluation);

#endif
