/* sim.h - a whole cluster in one process, from one seed, in virtual time.
 * The coordinator's and the worker's files are linked as they are, shells included; what lies under
 * them is replaced: libuv's loop (sim_loop.c), sockets and the network (sim_net.c), mailboxes and
 * desks (sim_desk.c), the compute threads (sim_slots.c), the disk (sim_disk.c, sim_calls.c and, for
 * SQLite, sim_vfs.c), clock, random bits, model and forest (sim_stubs.c). One thread; one world at
 * a time in `sim`. docs/simulation.md tells the rest. */
#ifndef PFT_SIM_H
#define PFT_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

#define SIM_MS 1000000ull
#define SIM_S 1000000000ull
#define SIM_RUN "/sim/run"
#define SIM_ADDRESS "tcp://127.0.0.1:7000"
#define SIM_MODEL "53696d756c6174656453696d756c6174656453696d756c6174656453696d756c"
#define SIM_STATUS "tcp://127.0.0.1:7100"

enum {
    SIM_WORKERS = 16,
    SIM_NODES = SIM_WORKERS + 1, /* node 0 is the coordinator */
    SIM_TURN_ITEMS = 64,
    SIM_EVENTS_MAX = 4000000, /* of one seed: more is a livelock */
    SIM_TEXT = 512,
    SIM_LIAR = 1,       /* the node that lies */
    SIM_EVEN_FROM = 10, /* version by which there is a band of norms */
};

/* Kinds of faults: name as printed. The first group strikes at a time of its own. */
#define SIM_FAULTS(X)                                                                              \
    X(FAULT_PARTITION, "partition, both ways")                                                     \
    X(FAULT_PARTITION_TO, "partition, to the worker only")                                         \
    X(FAULT_PARTITION_FROM, "partition, from the worker only")                                     \
    X(FAULT_BREAK, "connection broken")                                                            \
    X(FAULT_DELAY, "long delays")                                                                  \
    X(FAULT_WORKER_KILL, "worker killed")                                                          \
    X(FAULT_WORKER_CRASH, "worker's host gone, half-open")                                         \
    X(FAULT_WORKER_FUSE, "worker killed while sending")                                            \
    X(FAULT_WORKER_STOP, "worker stopped (late results)")                                          \
    X(FAULT_WORKER_SLOW, "worker slow")                                                            \
    X(FAULT_WORKER_DRAIN, "worker drained")                                                        \
    X(FAULT_COORDINATOR_KILL, "coordinator killed")                                                \
    X(FAULT_COORDINATOR_FUSE, "coordinator killed between two writes or sends")                    \
    X(FAULT_POWER, "coordinator's power lost")                                                     \
    X(FAULT_POWER_FUSE, "power lost between two writes or sends")                                  \
    X(FAULT_COORDINATOR_TERM, "coordinator told to stop")                                          \
    X(FAULT_COORDINATOR_STALL, "coordinator stalled")                                              \
    X(FAULT_DISK_FULL, "disk full")                                                                \
    X(FAULT_DISK_SLOW, "disk slow")                                                                \
    X(FAULT_WRITE_ERROR, "write fails")                                                            \
    X(FAULT_SYNC_ERROR, "fsync fails")                                                             \
    X(FAULT_SYNC_LOST, "fsync lies")                                                               \
    X(FAULT_CHECKPOINT_DAMAGE, "newest checkpoint damaged")                                        \
    X(FAULT_WALL_JUMP, "wall clock jumps")                                                         \
    X(FAULT_FLIP, "gradient corrupted in transit")                                                 \
    X(FAULT_FLIP_PARAMS, "parameters corrupted in transit")                                        \
    X(FAULT_FLIP_UNITS, "list of units corrupted in transit")                                      \
    X(FAULT_NOT_FINITE, "gradient not finite")                                                     \
    X(FAULT_NORM, "norm announced too large")                                                      \
    X(FAULT_BAND, "gradient out of band")                                                          \
    X(FAULT_SILENT, "gradient wrong within the band")                                              \
    X(FAULT_PROBE, "probe differs")                                                                \
    X(FAULT_OWN_PROBE, "the run's own probe fails")                                                \
    X(FAULT_LOSS, "message lost")                                                                  \
    X(FAULT_DUPLICATE, "message duplicated")                                                       \
    X(FAULT_REORDER, "message reordered")                                                          \
    X(FAULT_TORN, "torn write")                                                                    \
    X(FAULT_UNSYNCED, "unsynced data or name lost")                                                \
    X(FAULT_LIE_SESSION, "member names another's session")                                         \
    X(FAULT_LIE_TOKEN, "member's token is not its job's")                                          \
    X(FAULT_LIE_ATTEMPT, "member claims another attempt")                                          \
    X(FAULT_LIE_UNITS, "member names other units, up to its quarantine")

enum sim_fault {
#define SIM_FAULT_ENUM(name, text) name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        FAULT_KINDS,
    FAULT_TIMED = FAULT_LOSS, /* kinds below are drawn with a time */
};
const char *sim_fault_name(enum sim_fault kind);

struct client;
struct uv_loop_s;
struct sim_loop;

/* What the command line decides for all seeds. */
struct sim_options {
    double audit; /* rate; below 0: the default of a run */
    bool liar;    /* no other faults, long steps, and one worker lies in all it computes */
    bool even;    /* as with liar, but nobody lies: to measure the time of a step */
};
extern struct sim_options sim_options;

/* What a seed decides before it begins. */
struct sim_plan {
    uint64_t seed;
    uint32_t workers, slots[SIM_NODES], hosts[SIM_NODES];
    uint32_t steps, groups, batch_groups, unit_tokens, checkpoint_steps;
    bool strict, quiet;
    uint64_t token_ns;               /* of compute */
    uint64_t length_ns;              /* expected, without faults */
    double loss, duplicate, reorder; /* shares of messages */
    uint64_t latency_ns;
    bool spikes; /* some units have a true gradient 8 times as large */
};

/* A process: the coordinator or a worker, or the place where one will be. */
struct sim_node {
    bool alive, dead; /* dead: killed, whatever it does while it is taken down has no effect */
    uint64_t life;    /* number of the process */
    uint64_t paused_until, clock_ns;
    uint32_t fuse; /* sends and disk calls until it dies; 0 = none */
    bool fuse_is_power;
    struct sim_loop *loop;
    uint64_t turn_at; /* of the next turn; 0 = none */
    struct client *client;
    uint64_t slow;               /* factor of its compute */
    uint32_t wrong[FAULT_KINDS]; /* results (or probes) still to be spoilt */
    uint64_t started_ns;
};

struct sim_event {
    uint64_t at, order, life; /* life 0: happens whatever became of the node */
    int node;
    void (*fire)(void *ctx, uint64_t a);
    void *ctx;
    uint64_t a;
};

struct sim_world {
    struct sim_plan plan;
    uint64_t now, order, events_fired;
    uint64_t draws;
    int here; /* the node whose code runs */
    struct sim_node nodes[SIM_NODES];
    struct sim_event *events; /* a heap */
    size_t n_events, events_capacity;
    bool healed; /* the faults are over */
    uint64_t healed_at;
    uint64_t version, moved_at; /* the newest one ever published, and when */
    bool finished;
    uint64_t wall_offset_ns;
    uint64_t counts[FAULT_KINDS];
    bool trace;
    bool failed;
    char why[SIM_TEXT];
    uint64_t lives;
};
extern struct sim_world sim;

/* World (sim_world.c). */
void sim_at(uint64_t at, int node, uint64_t life, void (*fire)(void *ctx, uint64_t a), void *ctx,
            uint64_t a);
uint64_t sim_draw(void);
uint64_t sim_below(uint64_t bound);                /* [0, bound) */
uint64_t sim_between(uint64_t low, uint64_t high); /* [low, high] */
bool sim_chance(double p);
void sim_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
void sim_trace(const char *fmt, ...) PRINTF_LIKE(1, 2);
void sim_turn_by(int node, uint64_t at);     /* the node's loop turns at `at` or earlier */
void sim_turn_due(void *ctx, uint64_t node); /* an event: the node's loop turns */
/* A send or a disk call of the node that runs: false when it is dead (by now). */
bool sim_alive(void);

struct sim_outcome {
    bool failed;
    char why[SIM_TEXT];
    uint64_t counts[FAULT_KINDS], faults;
    uint64_t virtual_ns, events, healed_after_ns;
    uint32_t steps, units, workers;
    uint64_t duplicates; /* units that were computed twice */
    uint64_t splits, backups, restarts, starts;
    uint64_t silent_made, silent_counted, band_made, band_counted;
    uint64_t confirmed;                          /* units that two hosts agreed on */
    bool found;                                  /* the liar */
    uint64_t lied;                               /* units that it had computed by then */
    uint64_t even_ns, even_computed, even_units; /* from SIM_EVEN_FROM on */
};
void sim_run(uint64_t seed, bool quiet, bool trace, struct sim_outcome *out);

/* Processes (sim_nodes.c). */
void sim_start_all(void);
void sim_start_node(int node);
void sim_kill(int node, bool power); /* at once */
void sim_terminate(int node);        /* SIGTERM */
void sim_after_code(int node);       /* after its code ran: is it dead, has it ended? */
void sim_close_all(void);

/* Loop (sim_loop.c). */
struct sim_loop *sim_loop_of(const struct uv_loop_s *loop);
void sim_loop_turn(int node);
void sim_loop_signal(int node, int signum);

/* Desks and mailboxes (sim_desk.c). */
bool sim_mailboxes_ready(int node); /* calls those that are due; true: there were some */

/* Network (sim_net.c). */
void sim_net_reset(void);
bool sim_net_deliver(int node); /* one message; false: none waits */
bool sim_net_waits(int node);
void sim_net_gone(int node, bool half_open); /* its process ended */
void sim_net_break(int worker);
void sim_net_partition(int worker, bool to, bool from, uint64_t until, bool hold);
void sim_net_slow(uint64_t latency_ns, uint64_t until);
void sim_net_heal(void);

/* Disk (sim_disk.c). */
void sim_disk_reset(void);
void sim_disk_free(void);
void sim_disk_crash(bool power); /* the process that used it is gone */
void sim_disk_full(uint64_t until);
void sim_disk_slow(uint64_t until);
void sim_disk_fail(bool sync, uint32_t after); /* the call after so many more fails */
void sim_disk_lie(uint32_t after);
bool sim_disk_damage_newest(const char *suffix);
void sim_disk_wipe(void);
void sim_disk_heal(void);
uint64_t sim_disk_delay(void);                  /* of a desk that writes */
bool sim_disk_lied(void);                       /* an fsync lied and data was lost by it */
bool sim_disk_hurt(void);                       /* an error was made since the last call */
int sim_disk_open(const char *path, int flags); /* inode, or -errno */
bool sim_disk_exists(const char *path, bool *folder, uint64_t *bytes);
long sim_disk_read(int inode, uint64_t offset, void *out, size_t bytes);
long sim_disk_write(int inode, uint64_t offset, const void *data, size_t bytes);
int sim_disk_truncate(int inode, uint64_t bytes);
int sim_disk_sync(int inode);
int sim_disk_sync_folder(const char *path);
int sim_disk_rename(const char *from, const char *to);
int sim_disk_unlink(const char *path);
int sim_disk_mkdir(const char *path);
uint64_t sim_disk_bytes(int inode);
const char *sim_disk_list(const char *folder, size_t *at); /* names, then NULL */
bool sim_disk_lock(int inode);                             /* by the process that runs */
uint32_t sim_calls_open(void);                             /* files and folders that are open */
void sim_vfs_register(void);
void sim_vfs_reset(void);

/* Faults (sim_faults.c). */
void sim_faults_plan(void);
void sim_faults_reach(uint64_t version); /* it is published */
void sim_count(enum sim_fault kind);

/* Members that lie (sim_liars.c): beside what a worker sends, the lie that is told with it. */
void sim_liars_plan(void);
void sim_liars_reach(uint64_t version);
bool sim_liars_copy(int worker, const uint8_t *header, size_t bytes,
                    uint8_t copy[LIMIT_HEADER_BYTES], size_t *copy_bytes);

/* Slots (sim_slots.c): the true gradient of a unit, and what was spoilt. */
struct unit;
void sim_gradient(const struct unit *unit, const float *lora, uint64_t step, int64_t *sum,
                  double *sumsq);
/* Kind of a spoilt payload by its digest; FAULT_KINDS when it is true. */
enum sim_fault sim_spoilt(const uint8_t digest[HASH_XXH128_BYTES]);
void sim_slots_reset(void);

/* What is known to be right (sim_oracle.c). */
void sim_oracle_open(void);
void sim_oracle_close(struct sim_outcome *out);
void sim_oracle_turn(void);     /* after a turn of the coordinator */
void sim_oracle_finished(void); /* the run is over */
void sim_oracle_again(void);    /* the run folder was made anew */
void sim_oracle_computed(int node, uint32_t units, enum sim_fault spoilt); /* a slot has a result */

#endif
