/* sim_main.c - pft-sim: runs seeds in processes of its own, adds up what they met, prints the line
 * that replays a failing one. A seed that aborts ends its process only. */
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"
#include "tests/sim/sim.h"

enum { JOBS_MAX = 64, FAILURES_MAX = 64, QUIET_EVERY = 16 };

static const char USAGE[] =
    "usage: pft-sim [--first K] [--seeds N] [--jobs J] [--audit RATE] [--liar | --cost] [--trace]\n"
    "Simulates seeds K .. K+N-1, each a whole cluster with faults; exit 1 when a promise is "
    "broken.\n"
    "  --audit RATE  audit.rate of every run; with 1 a wrong gradient that is counted while two\n"
    "                hosts are there fails\n"
    "  --liar        instead of faults, one worker lies in all it computes: is it found?\n"
    "  --cost        without faults, with audits and without: what do they cost?\n";

struct failure {
    uint64_t seed;
    bool quiet;
    int signal;
    char why[SIM_TEXT];
    uint64_t counts[FAULT_KINDS];
};

/* What the processes share. */
struct totals {
    atomic_ullong next, seeds, quiet;
    atomic_ullong counts[FAULT_KINDS];
    atomic_ullong steps, units, duplicates, splits, backups, restarts, starts, virtual_ms, events;
    atomic_ullong silent_made, silent_counted, band_made, band_counted, confirmed;
    atomic_ullong liars, liars_found; /* seeds; those in which it was found in time */
    atomic_ullong cost_ns[2], cost_computed[2], cost_units[2]; /* without audits, with them */
    atomic_ullong fewest, longest;                             /* longest: ms << 32 | seed */
    atomic_uint n_failures;
    struct failure failures[FAILURES_MAX];
    atomic_ullong running[JOBS_MAX]; /* seed + 1 */
};

struct options {
    uint64_t first, seeds;
    uint32_t jobs;
    bool trace, cost;
};

static void record_failure(struct totals *t, uint64_t seed, bool quiet, int signal,
                           const struct sim_outcome *out)
{
    unsigned at = atomic_fetch_add(&t->n_failures, 1);
    if (at >= FAILURES_MAX) {
        return;
    }
    struct failure *f = &t->failures[at];
    f->seed = seed;
    f->quiet = quiet;
    f->signal = signal;
    if (out) {
        memcpy(f->why, out->why, sizeof f->why);
        memcpy(f->counts, out->counts, sizeof f->counts);
    }
}

static void add(struct totals *t, uint64_t seed, const struct sim_outcome *out)
{
    for (int k = 0; k < FAULT_KINDS; k++) {
        atomic_fetch_add(&t->counts[k], out->counts[k]);
    }
    atomic_fetch_add(&t->steps, out->steps);
    atomic_fetch_add(&t->units, out->units);
    atomic_fetch_add(&t->duplicates, out->duplicates);
    atomic_fetch_add(&t->splits, out->splits);
    atomic_fetch_add(&t->backups, out->backups);
    atomic_fetch_add(&t->restarts, out->restarts);
    atomic_fetch_add(&t->starts, out->starts);
    atomic_fetch_add(&t->virtual_ms, out->virtual_ns / SIM_MS);
    atomic_fetch_add(&t->events, out->events);
    atomic_fetch_add(&t->silent_made, out->silent_made);
    atomic_fetch_add(&t->silent_counted, out->silent_counted);
    atomic_fetch_add(&t->band_made, out->band_made);
    atomic_fetch_add(&t->band_counted, out->band_counted);
    atomic_fetch_add(&t->confirmed, out->confirmed);
    unsigned long long fewest = atomic_load(&t->fewest);
    while (out->faults < fewest &&
           !atomic_compare_exchange_weak(&t->fewest, &fewest, out->faults)) {
    }
    unsigned long long longest = atomic_load(&t->longest);
    unsigned long long this_one = out->healed_after_ns / SIM_MS << 32 | (uint32_t)seed;
    while (this_one > longest && !atomic_compare_exchange_weak(&t->longest, &longest, this_one)) {
    }
}

/* A worker that always lies is to be found within so many of its units, over the rate. */
enum { LIAR_UNITS = 3, LIAR_PERCENT = 95 };

static void run_liar(struct totals *t, uint64_t seed, bool trace)
{
    struct sim_outcome out;
    sim_run(seed, true, trace, &out);
    if (out.failed) {
        record_failure(t, seed, true, 0, &out);
        return;
    }
    add(t, seed, &out);
    atomic_fetch_add(&t->seeds, 1);
    atomic_fetch_add(&t->liars, 1);
    atomic_fetch_add(&t->liars_found,
                     out.found && (double)out.lied * sim_options.audit <= LIAR_UNITS);
}

static void run_cost(struct totals *t, uint64_t seed)
{
    const double rate = sim_options.audit;
    for (int with = 0; with < 2; with++) {
        struct sim_outcome out;
        sim_options.audit = with ? rate : 0.0;
        sim_run(seed, true, false, &out);
        if (out.failed) {
            record_failure(t, seed, true, 0, &out);
            return;
        }
        atomic_fetch_add(&t->cost_ns[with], out.even_ns);
        atomic_fetch_add(&t->cost_computed[with], out.even_computed);
        atomic_fetch_add(&t->cost_units[with], out.even_units);
    }
    atomic_fetch_add(&t->seeds, 1);
}

static void run_seed(struct totals *t, uint64_t seed, bool trace)
{
    struct sim_outcome out;
    if (seed % QUIET_EVERY == 0) { /* the whole cluster without faults must agree too */
        sim_run(seed, true, false, &out);
        atomic_fetch_add(&t->quiet, 1);
        if (out.failed) {
            record_failure(t, seed, true, 0, &out);
            return;
        }
    }
    sim_run(seed, false, trace, &out);
    atomic_fetch_add(&t->seeds, 1);
    if (seed % QUIET_EVERY == 1 && !trace) { /* and a seed must say the same thing twice */
        struct sim_outcome again;
        sim_run(seed, false, false, &again);
        if (out.events != again.events || out.virtual_ns != again.virtual_ns ||
            memcmp(out.counts, again.counts, sizeof out.counts) != 0) {
            (void)snprintf(out.why, sizeof out.why, "the seed does not repeat itself");
            out.failed = true;
        }
    }
    if (out.failed) {
        record_failure(t, seed, false, 0, &out);
    } else {
        add(t, seed, &out);
    }
}

static void work(struct totals *t, const struct options *o, uint32_t index)
{
    sim_vfs_register();
    for (;;) {
        uint64_t i = atomic_fetch_add(&t->next, 1);
        if (i >= o->seeds) {
            return;
        }
        atomic_store(&t->running[index], o->first + i + 1);
        if (sim_options.liar) {
            run_liar(t, o->first + i, o->trace);
        } else if (o->cost) {
            run_cost(t, o->first + i);
        } else {
            run_seed(t, o->first + i, o->trace);
        }
        atomic_store(&t->running[index], 0);
    }
}

static pid_t start_process(struct totals *t, const struct options *o, uint32_t index)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        work(t, o, index);
        exit(0); /* and not _exit: a leak check wants its turn */
    }
    return pid;
}

static void run_all(struct totals *t, const struct options *o)
{
    pid_t pids[JOBS_MAX];
    uint32_t left = o->jobs;
    for (uint32_t i = 0; i < o->jobs; i++) {
        pids[i] = start_process(t, o, i);
    }
    while (left > 0) {
        int status;
        pid_t pid = wait(&status);
        uint32_t i = 0;
        while (i < o->jobs && pids[i] != pid) {
            i++;
        }
        CHECK(pid > 0 && i < o->jobs);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            left--;
            continue;
        }
        uint64_t seed = atomic_exchange(&t->running[i], 0);
        if (seed == 0) { /* it failed at its end: a leak */
            record_failure(t, o->first, false, -1, NULL);
            left--;
            continue;
        }
        record_failure(t, seed - 1, false, WIFSIGNALED(status) ? WTERMSIG(status) : -1, NULL);
        pids[i] = start_process(t, o, i);
    }
}

static void print_failures(const struct totals *t)
{
    unsigned n = atomic_load(&t->n_failures);
    for (unsigned i = 0; i < n && i < FAILURES_MAX; i++) {
        const struct failure *f = &t->failures[i];
        printf("\nseed %llu%s FAILED: %s\n", (unsigned long long)f->seed,
               f->quiet ? " (quiet)" : "",
               f->signal ? "the process ended by a signal or a sanitizer" : f->why);
        for (int k = 0; k < FAULT_KINDS; k++) {
            if (f->counts[k]) {
                printf("  %8llu  %s\n", (unsigned long long)f->counts[k],
                       sim_fault_name((enum sim_fault)k));
            }
        }
        printf("  make sim SEEDS=1 FIRST=%llu\n", (unsigned long long)f->seed);
    }
    if (n > 0) {
        printf("\n%u of the seeds FAILED\n", n);
    }
}

static void print_share(const char *what, unsigned long long made, unsigned long long counted)
{
    if (made > 0) {
        printf("%s: %llu made, %llu counted in a step; %.1f %% caught\n", what, made, counted,
               100.0 * (double)(made - (counted < made ? counted : made)) / (double)made);
    }
}

static void print_totals(const struct totals *t)
{
    unsigned long long sum = 0;
    for (int k = 0; k < FAULT_KINDS; k++) {
        sum += t->counts[k];
    }
    printf("%llu seeds (and %llu quiet ones): %llu steps, %llu units, %.1f h of virtual time, %llu "
           "events\n",
           (unsigned long long)t->seeds, (unsigned long long)t->quiet, (unsigned long long)t->steps,
           (unsigned long long)t->units, (double)t->virtual_ms / 3.6e6,
           (unsigned long long)t->events);
    printf(
        "units computed in vain %llu, jobs split %llu, backup copies %llu, batches started again "
        "%llu, starts of the coordinator %llu\n",
        (unsigned long long)t->duplicates, (unsigned long long)t->splits,
        (unsigned long long)t->backups, (unsigned long long)t->restarts,
        (unsigned long long)t->starts);
    printf("the longest run went on for %.1f s after its faults (seed %llu)\n",
           (double)(t->longest >> 32) * 1e-3, (unsigned long long)t->longest & UINT32_MAX);
    printf("faults: %llu, at least %llu a seed\n", sum, (unsigned long long)t->fewest);
    for (int k = 0; k < FAULT_KINDS; k++) {
        printf("  %8llu  %s\n", (unsigned long long)t->counts[k],
               sim_fault_name((enum sim_fault)k));
    }
    print_share("gradients wrong within the band (caught only where a unit is computed twice)",
                t->silent_made, t->silent_counted);
    print_share("gradients out of band", t->band_made, t->band_counted);
}

/* What a step costs more with audits: units and time, in percent. */
static double more(const atomic_ullong v[2], const atomic_ullong per[2])
{
    return 100.0 * ((double)v[1] / (double)per[1] / ((double)v[0] / (double)per[0]) - 1.0);
}

#define COST_MOST 1.5 /* units computed more, over the rate (coordinator/audit.h) */

/* False: a promise about audits is broken. */
static bool print_audits(const struct totals *t)
{
    if (t->liars > 0) {
        printf("a worker that always lies was found within %d / %g of its units in %llu of %llu "
               "seeds (%.1f %%)\n",
               LIAR_UNITS, sim_options.audit, (unsigned long long)t->liars_found,
               (unsigned long long)t->liars, 100.0 * (double)t->liars_found / (double)t->liars);
    }
    if (t->cost_units[0] > 0) {
        printf("audits of rate %g: %.2f %% more units computed, %.2f %% more time a step\n",
               sim_options.audit, more(t->cost_computed, t->cost_units),
               more(t->cost_ns, t->cost_units));
    }
    bool cheap = t->cost_units[0] == 0 ||
                 more(t->cost_computed, t->cost_units) <= COST_MOST * 100.0 * sim_options.audit;
    return cheap && t->liars_found * 100 >= t->liars * LIAR_PERCENT;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option list[] = {
        {"first", required_argument, NULL, 'f'}, {"seeds", required_argument, NULL, 'n'},
        {"jobs", required_argument, NULL, 'j'},  {"trace", no_argument, NULL, 't'},
        {"audit", required_argument, NULL, 'a'}, {"liar", no_argument, NULL, 'l'},
        {"cost", no_argument, NULL, 'c'},        {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", list, NULL)) != -1) {
        char *end = NULL;
        unsigned long long value = optarg && option != 'a' ? strtoull(optarg, &end, 10) : 0;
        if (option == 'a') {
            sim_options.audit = strtod(optarg, &end);
        }
        if (option == '?' || (optarg && (*optarg == '\0' || *end != '\0')) ||
            sim_options.audit > 1.0) {
            return false;
        }
        o->trace = o->trace || option == 't';
        o->cost = o->cost || option == 'c';
        sim_options.liar = sim_options.liar || option == 'l';
        o->first = option == 'f' ? value : o->first;
        o->seeds = option == 'n' ? value : o->seeds;
        o->jobs = option == 'j' ? (uint32_t)value : o->jobs;
    }
    sim_options.even = o->cost;
    if ((o->cost || sim_options.liar) && !(sim_options.audit > 0.0)) {
        return false; /* they are about a rate */
    }
    return optind == argc && o->seeds > 0 && o->jobs > 0 && o->jobs <= JOBS_MAX;
}

/* Among so many seeds a kind of fault that never struck is a hole in the simulation. */
enum { SEEDS_FOR_EVERY_KIND = 1000 };

static bool every_kind_struck(const struct totals *t)
{
    bool all = true;
    for (int k = 0; k < FAULT_KINDS && t->seeds >= SEEDS_FOR_EVERY_KIND; k++) {
        if (t->counts[k] == 0) {
            all = false;
            printf("\nFAILED: no seed had a fault of the kind: %s\n",
                   sim_fault_name((enum sim_fault)k));
        }
    }
    return all;
}

int main(int argc, char **argv)
{
    struct options o = {.first = 1, .seeds = 100, .jobs = 2};
    if (!parse(argc, argv, &o)) {
        (void)fputs(USAGE, stderr);
        return 2;
    }
    struct totals *t =
        mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(t != MAP_FAILED);
    t->fewest = UINT64_MAX;
    run_all(t, &o);
    bool special = o.cost || sim_options.liar;
    if (!special) {
        print_totals(t);
    }
    bool kept = print_audits(t);
    print_failures(t);
    return !kept || (!special && !every_kind_struck(t)) || atomic_load(&t->n_failures) > 0;
}
