/* status_board.c - sums and a sliding window. */
#include "coordinator/status_board.h"

#include <math.h>

#define SCORE_COST 0.5 /* of a token's, against training it: forward without backward */

enum { SAMPLE_MS = 250 };

void board_batch(struct board *b, uint64_t tokens, uint64_t pairs)
{
    b->batch_tokens = (double)tokens;
    b->batch_pairs = (double)pairs;
    b->batch_counted = 0.0;
}

void board_restart(struct board *b)
{
    b->batch_counted = 0.0;
}

void board_count(struct board *b, uint32_t tokens)
{
    b->tokens += tokens;
    b->batch_counted += tokens;
    if (b->batch_tokens > 0.0) {
        b->pairs += b->batch_pairs * tokens / b->batch_tokens;
    }
}

static uint32_t place(const struct board *b, uint32_t i)
{
    return (b->first + i) % BOARD_SAMPLES;
}

void board_tick(struct board *b, uint64_t now_ms)
{
    if (b->count > 0 && now_ms - b->samples[place(b, b->count - 1)].at_ms < SAMPLE_MS) {
        return;
    }
    while (b->count == BOARD_SAMPLES ||
           (b->count > 1 && now_ms - b->samples[place(b, 1)].at_ms >= BOARD_WINDOW_MS)) {
        b->first = (b->first + 1) % BOARD_SAMPLES;
        b->count--;
    }
    b->samples[place(b, b->count)] =
        (struct board_sample){.at_ms = now_ms, .tokens = b->tokens, .pairs = b->pairs};
    b->count++;
}

void board_rates(const struct board *b, double *tokens_per_s, double *pairs_per_s)
{
    *tokens_per_s = *pairs_per_s = 0.0;
    if (b->count < 2) {
        return;
    }
    const struct board_sample *from = &b->samples[place(b, 0)];
    const struct board_sample *to = &b->samples[place(b, b->count - 1)];
    double seconds = (double)(to->at_ms - from->at_ms) * 1e-3;
    *tokens_per_s = (to->tokens - from->tokens) / seconds;
    *pairs_per_s = (to->pairs - from->pairs) / seconds;
}

double board_left(const struct board *b)
{
    double left = b->batch_tokens - b->batch_counted;
    return left > 0.0 ? left : 0.0;
}

double board_eta(const struct board *b, double later, double score_tokens, double score_s)
{
    double tokens_per_s;
    double pairs_per_s;
    board_rates(b, &tokens_per_s, &pairs_per_s);
    if (!(tokens_per_s > 0.0)) {
        return (double)NAN;
    }
    score_s = score_s > 0.0 ? score_s : SCORE_COST / tokens_per_s;
    return (board_left(b) + later) / tokens_per_s + score_tokens * score_s;
}
