/* status_board.h - figures over time for the status: what was counted, how fast, how long still.
 * Owns: sums and a window of samples. Never: clocks, sockets. Pure; loop thread. */
#ifndef PFT_STATUS_BOARD_H
#define PFT_STATUS_BOARD_H

#include <stdint.h>

enum { BOARD_SAMPLES = 128, BOARD_WINDOW_MS = 30000 };

struct board_sample {
    uint64_t at_ms;
    double tokens, pairs;
};

struct board {
    double tokens, pairs;             /* counted since the start of the program */
    double batch_tokens, batch_pairs; /* of the open batch */
    double batch_counted;             /* tokens of it that are counted */
    struct board_sample samples[BOARD_SAMPLES];
    uint32_t first, count;
};

/* A batch was opened: what is counted from now on belongs to it. */
void board_batch(struct board *b, uint64_t tokens, uint64_t pairs);
/* The open batch starts again: what was counted of it does not count any more. */
void board_restart(struct board *b);
/* Units of a job are in. */
void board_count(struct board *b, uint32_t tokens);
/* Call a few times a second. */
void board_tick(struct board *b, uint64_t now_ms);

/* Means over the last 30 s (or since the start, when that is less); 0 before the second sample. */
void board_rates(const struct board *b, double *tokens_per_s, double *pairs_per_s);
/* Seconds for what is left of the open batch and `later` tokens like it, at the rate above, and for
 * score_tokens of an evaluation at score_s seconds each (0: unknown, taken for half of what a token
 * costs now: no backward). NaN while nothing is counted. */
double board_eta(const struct board *b, double later, double score_tokens, double score_s);
/* Tokens of the open batch that are not counted yet. */
double board_left(const struct board *b);

#endif
