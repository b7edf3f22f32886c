/* choices.h - the list of lettered answers that stands at the end of a two-choice question:
 *
 *     question, a line "Choices:", then lines " (A) text", " (B) text", ...
 *
 * Behaviour and retention files name an answer by its letter; prompts want its words.
 * Owns: nothing (points into the question). Pure. */
#ifndef PFT_CHOICES_H
#define PFT_CHOICES_H

#include <stdbool.h>
#include <stddef.h>

/* A stretch of the question's text, without the white space around it. */
struct choices_span {
    size_t begin, bytes;
};

/* Where the question ends and the list begins; the whole text when there is no list. */
struct choices_span choices_stem(const char *text, size_t bytes);

/* The words that `answer` stands for: "(B)" in a question with a list is choice B's text, found in
 * *out; false when the answer is no such letter or the list has no such choice. */
bool choices_find(const char *text, size_t bytes, const char *answer, struct choices_span *out);

#endif
