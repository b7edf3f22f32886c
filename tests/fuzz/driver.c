/* driver.c - main of a fuzz target: inputs that once crashed it (tests/fuzz/crashes/TARGET), its
 * seeds as they are, cut at every byte, and mutated by a seeded generator. The same environment
 * gives the same inputs.
 *   PFT_FUZZ_RUNS     mutated inputs (default 20000)     PFT_FUZZ_SEED  (default 1)
 *   PFT_FUZZ_SECONDS  mutate for so long instead
 * Arguments are files to run instead, one after another (a crash input, say). An input that kills
 * the program, or takes more than ten seconds, is kept in the working folder as
 * crash-input-SEED-RUN-PID. */
#include "tests/fuzz/driver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

enum { CUT_ALL_BYTES = 4096, CUTS_OF_LARGE = 512, EDITS_MAX = 8, HANG_S = 10, KEPT_MAX = 256 };

/* What runs now, for the last words of a crash. */
static struct {
    const uint8_t *data;
    size_t bytes;
    uint64_t seed;
    uint64_t run;
} now;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void last_words(void)
{
    char name[64];
    char line[160];
    int n = snprintf(name, sizeof name, "crash-input-%" PRIu64 "-%" PRIu64 "-%d", now.seed, now.run,
                     (int)getpid());
    int fd = n > 0 ? open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    if (fd >= 0) {
        ssize_t wrote = write(fd, now.data, now.bytes);
        (void)close(fd);
        n = snprintf(line, sizeof line,
                     "fuzz: input %" PRIu64 " of seed %" PRIu64 " kept in %s%s\n", now.run,
                     now.seed, name, wrote == (ssize_t)now.bytes ? "" : " (in part)");
        if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0) {
            return;
        }
    }
}

static void on_signal(int number)
{
    (void)signal(number, SIG_DFL);
    last_words();
    (void)raise(number);
}

/* Every HANG_S seconds: the same input again is one that hangs. */
static void on_alarm(int number)
{
    static const char text[] = "fuzz: this input takes too long\n";
    static uint64_t seen;
    (void)number;
    if (seen == now.run && now.run > 0) {
        if (write(STDERR_FILENO, text, sizeof text - 1) >= 0) {
            abort();
        }
    }
    seen = now.run;
    (void)alarm(HANG_S);
}

/* Not clock.h: a target may put a clock of its own in its place. */
static uint64_t monotonic_ms(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static void run(const uint8_t *data, size_t bytes)
{
    now.data = data;
    now.bytes = bytes;
    now.run++;
    CHECK(LLVMFuzzerTestOneInput(data, bytes) == 0);
}

/* A copy of exactly n bytes, so that a sanitizer sees one byte too far. */
static void run_copy(const uint8_t *data, size_t n)
{
    uint8_t *copy = mem_calloc(n, 1);
    CHECK(copy);
    if (n > 0) {
        memcpy(copy, data, n);
    }
    run(copy, n);
    mem_free(copy);
}

/* A stream of draws of one input. */
struct draws {
    uint64_t key, next;
};

static uint64_t draw(struct draws *d, uint64_t bound)
{
    return rng_below(d->key, d->next++, bound);
}

static uint64_t interesting(struct draws *d)
{
    static const uint64_t values[] = {
        0,          1,
        2,          3,
        4,          7,
        8,          16,
        31,         32,
        33,         63,
        64,         65,
        127,        128,
        255,        256,
        0x7FFF,     0x8000,
        0xFFFF,     0x7FFFFFFF,
        0x80000000, 0xFFFFFFFF,
        1ull << 32, 1ull << 60,
        INT64_MAX,  1ull << 63,
        UINT64_MAX, UINT64_MAX - 7,
        1ull << 40, 100000000,
        100000001,  UINT64_MAX / 4,
    };
    return values[draw(d, sizeof values / sizeof values[0])];
}

/* Replaces [at, at + gone) of the input by n bytes, unless it would grow too large. */
static void put_bytes(uint8_t *input, size_t *bytes, size_t at, size_t gone, const uint8_t *with,
                      size_t n)
{
    if (*bytes - gone + n > FUZZ_INPUT_BYTES_MAX) {
        return;
    }
    memmove(input + at + n, input + at + gone, *bytes - at - gone);
    if (n > 0) {
        memcpy(input + at, with, n);
    }
    *bytes = *bytes - gone + n;
}

/* A run of digits at or after `at` becomes another number: how counts in JSON are reached. */
static void change_number(uint8_t *input, size_t *bytes, size_t at, struct draws *d)
{
    char text[32];
    while (at < *bytes && (input[at] < '0' || input[at] > '9')) {
        at++;
    }
    size_t end = at;
    while (end < *bytes && input[end] >= '0' && input[end] <= '9') {
        end++;
    }
    uint64_t value = interesting(d);
    int n = snprintf(text, sizeof text, draw(d, 8) == 0 ? "-%" PRIu64 : "%" PRIu64, value);
    if (end > at && n > 0) {
        put_bytes(input, bytes, at, end - at, (const uint8_t *)text, (size_t)n);
    }
}

static void edit(uint8_t *input, size_t *bytes, const struct fuzz_seed *other, struct draws *d)
{
    static const char marks[] = "{}[]\",:\\-.0e \n";
    size_t at = (size_t)draw(d, *bytes + 1);
    size_t left = *bytes - at;
    size_t span = (size_t)draw(d, 1 + (left < 64 ? left : 64));
    uint64_t value = interesting(d);
    switch (draw(d, 8)) {
    case 0:
        if (left > 0) {
            input[at] ^= (uint8_t)(1u << draw(d, 8));
        }
        break;
    case 1:
        if (left > 0) {
            input[at] = (uint8_t)draw(d, 256);
        }
        break;
    case 2: { /* little-endian integer of 1, 2, 4 or 8 bytes, over what is there */
        size_t width = (size_t)1 << draw(d, 4);
        memcpy(input + at, &value, left < width ? left : width);
        break;
    }
    case 3:
        put_bytes(input, bytes, at, span, NULL, 0);
        break;
    case 4: { /* a piece once more, elsewhere */
        uint8_t piece[64];
        memcpy(piece, input + at, span);
        put_bytes(input, bytes, (size_t)draw(d, *bytes + 1), 0, piece, span);
        break;
    }
    case 5: { /* a piece of another seed */
        size_t from = (size_t)draw(d, other->bytes + 1);
        size_t most = other->bytes - from < 64 ? other->bytes - from : 64;
        put_bytes(input, bytes, at, span, other->data + from, (size_t)draw(d, most + 1));
        break;
    }
    case 6:
        change_number(input, bytes, at, d);
        break;
    default: {
        uint8_t mark = (uint8_t)marks[draw(d, sizeof marks - 1)];
        put_bytes(input, bytes, at, draw(d, 2) == 0 && left > 0 ? 1 : 0, &mark, 1);
        break;
    }
    }
}

/* Until `runs` are done or, when seconds is not 0, that many have passed. */
static void run_mutations(const struct fuzz_seed *seeds, size_t n, uint64_t seed, uint64_t runs,
                          uint64_t seconds)
{
    uint8_t *input = mem_calloc(FUZZ_INPUT_BYTES_MAX + 8, 1);
    CHECK(input);
    uint64_t end = monotonic_ms() + seconds * 1000;
    for (uint64_t i = 0; seconds > 0 ? monotonic_ms() < end : i < runs; i++) {
        struct draws d = {.key = rng_key(seed, 0x66757A7A, i, 0)};
        const struct fuzz_seed *from = &seeds[draw(&d, n)];
        size_t bytes = from->bytes;
        memcpy(input, from->data, bytes);
        for (uint64_t edits = 1 + draw(&d, EDITS_MAX); edits > 0; edits--) {
            edit(input, &bytes, &seeds[draw(&d, n)], &d);
        }
        run_copy(input, bytes);
    }
    mem_free(input);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every kept input of this target, in the order of their names. */
static uint64_t run_kept(void)
{
    char folder[FILE_PATH_BYTES];
    char *names[KEPT_MAX];
    size_t n = 0;
    CHECK(snprintf(folder, sizeof folder, "tests/fuzz/crashes/%s", program_invocation_short_name) <
          FILE_PATH_BYTES);
    DIR *open_folder = opendir(folder);
    const struct dirent *entry;
    while (open_folder && (entry = readdir(open_folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            CHECK(n < KEPT_MAX);
            names[n++] = mem_strndup(entry->d_name, strlen(entry->d_name));
        }
    }
    if (open_folder) {
        (void)closedir(open_folder);
    }
    qsort(names, n, sizeof names[0], by_name);
    for (size_t i = 0; i < n; i++) {
        char path[FILE_PATH_BYTES];
        CHECK(snprintf(path, sizeof path, "%s/%s", folder, names[i]) < FILE_PATH_BYTES);
        struct fuzz_seed file = fuzz_seed_file(path);
        run_copy(file.data, file.bytes);
        mem_free(file.data);
        mem_free(names[i]);
    }
    return n;
}

static void run_cuts(const struct fuzz_seed *seed)
{
    size_t step = seed->bytes <= CUT_ALL_BYTES ? 1 : seed->bytes / CUTS_OF_LARGE;
    for (size_t n = 0; n < seed->bytes; n += step) {
        run_copy(seed->data, n);
    }
    run_copy(seed->data, seed->bytes);
}

static uint64_t from_environment(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    char *end = NULL;
    if (!text || text[0] == '\0') {
        return fallback;
    }
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        (void)fprintf(stderr, "fuzz: %s is \"%s\", a count is needed\n", name, text);
        exit(1);
    }
    return value;
}

static void catch_crashes(void)
{
    const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    size_t n = sizeof fatal / sizeof fatal[0];
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(last_words);
        n = 1; /* the rest is the sanitizer's */
    }
    for (size_t i = 0; i < n; i++) {
        (void)signal(fatal[i], on_signal);
    }
    (void)signal(SIGALRM, on_alarm);
    (void)alarm(HANG_S);
}

static void run_all(uint64_t runs, uint64_t seconds)
{
    struct fuzz_seed seeds[FUZZ_SEEDS_MAX];
    uint64_t begin = monotonic_ms();
    size_t n = fuzz_seeds(seeds);
    CHECK(n > 0 && n <= FUZZ_SEEDS_MAX);
    (void)printf("fuzz: %" PRIu64 " kept inputs, %zu to start from, PFT_FUZZ_SEED=%" PRIu64 "\n",
                 run_kept(), n, now.seed);
    for (size_t i = 0; i < n; i++) {
        CHECK(seeds[i].bytes <= FUZZ_INPUT_BYTES_MAX);
        run_cuts(&seeds[i]);
    }
    run_mutations(seeds, n, now.seed, runs, seconds);
    for (size_t i = 0; i < n; i++) {
        mem_free(seeds[i].data);
    }
    (void)printf("fuzz: %" PRIu64 " inputs in %.1f s, none crashed\n", now.run,
                 (double)(monotonic_ms() - begin) / 1000);
}

int main(int argc, char **argv)
{
    uint64_t runs = from_environment("PFT_FUZZ_RUNS", 20000);
    uint64_t seconds = from_environment("PFT_FUZZ_SECONDS", 0);
    now.seed = from_environment("PFT_FUZZ_SEED", 1);
    catch_crashes();
    for (int i = 1; i < argc; i++) {
        struct fuzz_seed file = fuzz_seed_file(argv[i]);
        run_copy(file.data, file.bytes);
        mem_free(file.data);
    }
    if (argc == 1) {
        run_all(runs, seconds);
    }
    return 0;
}
