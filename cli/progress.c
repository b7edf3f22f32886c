/* progress.c - one line that says how far a run is. */
#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/wire/status_message.h"

enum { BAR_CELLS = 24, PLAIN_EVERY_MS = 10000, COLUMNS = 80, LEVELS = 8 };

void progress_init(struct progress *p)
{
    const char *term = getenv("TERM");
    const bool dumb = !term || term[0] == '\0' || strcmp(term, "dumb") == 0;
    const bool terminal = isatty(STDERR_FILENO) != 0;
    *p = (struct progress){.narrow = terminal, .terminal = terminal && !dumb};
}

/* At most COLUMNS, and what the terminal has now: a line that wraps cannot be rewritten. */
static unsigned columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_col < COLUMNS
               ? size.ws_col
               : COLUMNS;
}

static void duration(char out[16], double seconds)
{
    if (!(seconds >= 0.0) || seconds > 360000.0) {
        (void)snprintf(out, 16, "--:--");
        return;
    }
    unsigned total = (unsigned)(seconds + 0.5);
    if (total >= 3600) {
        (void)snprintf(out, 16, "%u:%02u:%02u", total / 3600, total / 60 % 60, total % 60);
    } else {
        (void)snprintf(out, 16, "%02u:%02u", total / 60, total % 60);
    }
}

static void bar(char out[BAR_CELLS + 4], uint64_t done, uint64_t total, unsigned wide)
{
    uint64_t cells = total > 0 ? done * wide / total : 0;
    out[0] = '\0';
    if (wide > 0) {
        out[0] = '[';
        for (uint64_t i = 0; i < wide; i++) {
            out[i + 1] = i < cells ? '#' : '.';
        }
        memcpy(out + 1 + wide, "] ", 3);
    }
}

/* Training counts steps; everything else counts units. */
static void position(const struct status *s, uint64_t *done, uint64_t *total, const char **what)
{
    if (strcmp(s->task, "train") == 0) {
        *done = s->step_committed;
        *total = s->step_total;
        *what = "step";
        return;
    }
    *done = s->units_done;
    *total = s->units_done + s->units_queued + s->units_leased;
    *what = "unit";
}

/* Level 0 says all; each one more leaves out what can be missed best. */
static void render(char line[PROGRESS_BYTES], const struct status *s, int level)
{
    static const unsigned wide[LEVELS] = {24, 16, 10, 10, 10, 10, 10, 0};
    char cells[BAR_CELLS + 4];
    char eta[16];
    char loss[32] = "";
    char kl[32] = "";
    char pairs[48] = "";
    char tokens[48] = "";
    char workers[48] = "";
    uint64_t done;
    uint64_t total;
    const char *what;
    position(s, &done, &total, &what);
    bar(cells, done, total, wide[level]);
    duration(eta, s->eta_s);
    if (!isnan(s->loss) && strcmp(s->task, "train") == 0) {
        (void)snprintf(loss, sizeof loss, "loss %.4f  ", s->loss);
        if (!isnan(s->kl) && level < 6) {
            (void)snprintf(kl, sizeof kl, "KL %.4f  ", s->kl);
        }
        if (level < 4) {
            (void)snprintf(pairs, sizeof pairs, "%.2f pairs/s  ", s->pairs_per_s);
        }
    }
    if (level < 6) {
        (void)snprintf(tokens, sizeof tokens, "%.0f tokens/s  ", s->tokens_per_s);
    }
    if (level < 5) {
        (void)snprintf(workers, sizeof workers, "%u worker%s", s->n_workers,
                       s->n_workers == 1 ? "" : "s");
        const size_t n = strlen(workers);
        if (!isnan(s->utilisation) && level < 3) {
            (void)snprintf(workers + n, sizeof workers - n, " %.0f%% busy", 100.0 * s->utilisation);
        }
        (void)snprintf(workers + strlen(workers), sizeof workers - strlen(workers), "  ");
    }
    (void)snprintf(line, PROGRESS_BYTES, "%-*s %s%s %llu/%llu  %s%s%s%s%sETA %s",
                   level == 0 ? 12 : 0, s->task, cells, what, (unsigned long long)done,
                   (unsigned long long)total, loss, kl, pairs, tokens, workers, eta);
}

void progress_line(char line[PROGRESS_BYTES], const struct status *s, size_t most)
{
    int level = 0;
    do {
        render(line, s, level++);
    } while (strlen(line) > most && level < LEVELS);
    if (strlen(line) > most) {
        line[most] = '\0';
    }
}

/* Why it is degraded, once and on a line of its own: it may be long. */
static void show_reason(struct progress *p, const struct status *s)
{
    if (strcmp(p->last_text, s->text) == 0) {
        return;
    }
    (void)snprintf(p->last_text, sizeof p->last_text, "%s", s->text);
    if (s->text[0] != '\0') {
        progress_end(p);
        (void)fprintf(stderr, "%s%s\n", strcmp(s->state, "degraded") == 0 ? "degraded: " : "",
                      s->text);
    }
}

void progress_show(struct progress *p, const struct status *s, uint64_t now_ms)
{
    char line[PROGRESS_BYTES];
    show_reason(p, s);
    progress_line(line, s, p->narrow ? columns() : PROGRESS_BYTES - 1);
    bool new_task = strncmp(p->last_task, s->task, sizeof p->last_task - 1) != 0;
    if (p->terminal) {
        if (new_task) {
            progress_end(p);
        }
        (void)fprintf(stderr, "\r\033[K%s", line);
        (void)fflush(stderr);
        p->open = true;
    } else if (new_task || now_ms - p->last_ms >= PLAIN_EVERY_MS) {
        (void)fprintf(stderr, "%s\n", line);
        p->last_ms = now_ms;
    }
    (void)snprintf(p->last_task, sizeof p->last_task, "%s", s->task);
}

void progress_end(struct progress *p)
{
    if (p->open) {
        (void)fputc('\n', stderr);
        p->open = false;
    }
}
