/* data_format.h - the file formats that a data file can have (PAPER.md, "File formats"), as tables
 * of fields: how a format is recognised by its first item, and how an item is checked.
 * Owns: the field tables. Never: what the fields mean for training (dataset.h). Pure. */
#ifndef PFT_DATA_FORMAT_H
#define PFT_DATA_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/json_stream.h"

enum data_format {
    DATA_VCD,       /* scenario, preference domain, scene, options [{text, bias}] */
    DATA_PAIRS,     /* instruction, extra_a, response_a, extra_b, response_b */
    DATA_DPO,       /* prompt, chosen, rejected */
    DATA_SFT,       /* instruction, response */
    DATA_SFT_IO,    /* input, output */
    DATA_BQD,       /* question, answer_matching_behavior, answer_not_matching_behavior */
    DATA_RETENTION, /* prompt, correct, incorrect */
    DATA_QUESTIONS, /* question */
    DATA_HISTORY,   /* scenario, options [text], choice */
    DATA_FORMATS,
};

struct data_field {
    const char *name;
    bool required;
    bool may_be_empty;
    bool options;       /* an array of {text, bias}; else a string */
    bool plain;         /* with options: an array of texts or of {text} */
    bool choice;        /* the number of an option from 0, or its text */
    const char *unread; /* known in this format elsewhere, not read here: refused unless it is
                           empty; the field its text belongs into */
};

enum { DATA_FIELDS_MAX = 8 };
struct data_format_info {
    const char *name;                          /* "vcd", "pairs", "dpo", "sft", ... */
    const char *what;                          /* "scenarios with options" */
    struct data_field fields[DATA_FIELDS_MAX]; /* ends with name NULL; canonical order */
};
const struct data_format_info *data_format_info(enum data_format format);

/* By name; -1 when unknown. */
int data_format_from(const char *name);

/* The format whose required fields the object has most of (the earlier in the table on a tie);
 * ERR_PARSE lists what was looked for when it has none of any. */
MUST_USE enum err data_format_recognise(const struct json_stream *s, const json_t *item,
                                        enum data_format *format, struct errbuf *e);

/* The text of an element of options: itself, or its member "text". */
const json_t *data_format_option(const json_t *option);

/* The option that a checked item's field "choice" names; false when it has none. */
bool data_format_choice(const json_t *item, uint32_t *choice);

/* Checks one item of the stream, the one just read: every field there, of its type, not empty,
 * within the limits. The message has file, line, column, field and what was expected. */
MUST_USE enum err data_format_check(const struct json_stream *s, enum data_format format,
                                    const json_t *item, struct errbuf *e);

#endif
