/* main.c - pft-worker: computes jobs of a coordinator, or prints the probe digest of this machine.
 *
 * Exit codes: 0 the run is over, or drained as asked; 1 error; 2 usage; 3 refused (wrong model,
 * version, kernels or arithmetic); 4 nobody heard for --give-up-after seconds; 5 left at once after
 * a second signal; 6 the coordinator ended with an error. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cpu.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/program.h"
#include "common/format/model_default.h"
#include "common/format/model_file.h"
#include "common/net/address.h"
#include "common/net/key_file.h"
#include "common/wire/shape_digest.h"
#include "worker/backend/kernels_level.h"
#include "worker/client.h"
#include "worker/model/weights.h"
#include "worker/probe.h"
#include "worker/profile_run.h"

static const char USAGE[] =
    "usage: pft-worker ADDRESS --model FILE [--slots S] [--threads T] [--id NAME]\n"
    "                  [--give-up-after SECONDS] [--key FILE]\n"
    "       pft-worker --probe --model FILE [--kernels LEVEL] [--tiles ROWS,COLS]\n"
    "                  [--lora R,ALPHA,TARGETS,DROPOUT] [--precision fp32|bf16] [--seed N]\n"
    "       pft-worker --profile UNITS --model FILE ...   (what pft profile starts)\n"
    "\n"
    "Computes jobs of the coordinator at ADDRESS (ipc://PATH or tcp://HOST:PORT) until the run is\n"
    "over. SIGTERM finishes what runs and leaves; a second one leaves at once.\n"
    "\n"
    "  --model FILE              a GGUF file or a Hugging Face folder, or \"default\": the run's\n"
    "  --slots S                 jobs at a time (default 1)\n"
    "  --threads T               threads of each slot (default 1); no bit depends on them\n"
    "  --gradient-checkpointing  keep a fraction of the activations and compute the rest twice:\n"
    "                            less memory, a third slower, the same bits\n"
    "  --id NAME                 name of this worker, unique in a run (default host.pid.random)\n"
    "  --give-up-after SECONDS   leave when no coordinator was heard for so long (default: never)\n"
    "  --key FILE                a worker's key, as pft keys add made it, for tcp addresses\n"
    "  --kernels LEVEL           start with this level: portable, x86-64-v3, x86-64-v4 (default:\n"
    "                            the best of this CPU; the run decides in the end)\n"
    "  --probe                   print the digest of this machine's arithmetic and leave\n"
    "\n"
    "exit codes: 0 done or drained, 1 error, 2 usage, 3 refused, 4 coordinator unreachable,\n"
    "            5 left at once, 6 the run failed\n";

struct options {
    const char *address, *model, *id, *key_path, *kernels, *lora, *tiles, *precision, *units;
    struct key_file key;
    uint64_t slots, threads, repeat, give_up_s, seed;
    bool probe, layers, json, checkpointing;
};

static bool parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *rest;
    errno = 0;
    unsigned long long value = strtoull(text, &rest, 10);
    if (errno != 0 || rest == text || *rest != '\0' || text[0] == '-' || value < low ||
        value > high) {
        return false;
    }
    *out = value;
    return true;
}

enum {
    OPT_MODEL = 1,
    OPT_SLOTS,
    OPT_THREADS,
    OPT_ID,
    OPT_GIVE_UP,
    OPT_KEY,
    OPT_KERNELS,
    OPT_PROBE,
    OPT_LORA,
    OPT_SEED,
    OPT_TILES,
    OPT_PRECISION,
    OPT_PROFILE,
    OPT_REPEAT,
    OPT_LAYERS,
    OPT_JSON,
    OPT_CHECKPOINTING,
    OPT_HELP,
    OPT_VERSION
};

static enum err bad_number(const char *option, const char *text, uint64_t low, uint64_t high,
                           struct errbuf *e)
{
    return err_set(e, ERR_USAGE, "%s %s: a number from %llu to %llu is wanted", option, text,
                   (unsigned long long)low, (unsigned long long)high);
}

static enum err take_option(struct options *o, int option, const char *value, struct errbuf *e)
{
    switch (option) {
    case OPT_MODEL:
        o->model = value;
        return OK;
    case OPT_SLOTS:
        return parse_number(value, 1, LIMIT_SLOTS, &o->slots)
                   ? OK
                   : bad_number("--slots", value, 1, LIMIT_SLOTS, e);
    case OPT_THREADS:
        return parse_number(value, 1, LIMIT_THREADS, &o->threads)
                   ? OK
                   : bad_number("--threads", value, 1, LIMIT_THREADS, e);
    case OPT_ID:
        o->id = value;
        return value[0] != '\0' && strlen(value) < WIRE_NAME_BYTES
                   ? OK
                   : err_set(e, ERR_USAGE, "--id: 1 to %d bytes are wanted", WIRE_NAME_BYTES - 1);
    case OPT_GIVE_UP:
        return parse_number(value, 1, 1000000, &o->give_up_s)
                   ? OK
                   : bad_number("--give-up-after", value, 1, 1000000, e);
    case OPT_KEY:
        o->key_path = value;
        return OK;
    case OPT_KERNELS:
        o->kernels = value;
        return OK;
    case OPT_PROBE:
        o->probe = true;
        return OK;
    case OPT_LORA:
        o->lora = value;
        return OK;
    case OPT_SEED:
        return parse_number(value, 0, UINT64_MAX, &o->seed)
                   ? OK
                   : bad_number("--seed", value, 0, UINT64_MAX, e);
    case OPT_TILES:
        o->tiles = value;
        return OK;
    case OPT_PRECISION:
        o->precision = value;
        return OK;
    case OPT_PROFILE:
        o->units = value;
        return OK;
    case OPT_REPEAT:
        return parse_number(value, 1, 1000000, &o->repeat)
                   ? OK
                   : bad_number("--repeat", value, 1, 1000000, e);
    case OPT_LAYERS:
        o->layers = true;
        return OK;
    case OPT_JSON:
        o->json = true;
        return OK;
    case OPT_CHECKPOINTING:
        o->checkpointing = true;
        return OK;
    default:
        return err_set(e, ERR_USAGE, "see pft-worker --help");
    }
}

static enum err parse(int argc, char **argv, struct options *o, struct errbuf *e)
{
    static const struct option list[] = {
        {"model", required_argument, NULL, OPT_MODEL},
        {"slots", required_argument, NULL, OPT_SLOTS},
        {"threads", required_argument, NULL, OPT_THREADS},
        {"id", required_argument, NULL, OPT_ID},
        {"give-up-after", required_argument, NULL, OPT_GIVE_UP},
        {"key", required_argument, NULL, OPT_KEY},
        {"kernels", required_argument, NULL, OPT_KERNELS},
        {"probe", no_argument, NULL, OPT_PROBE},
        {"lora", required_argument, NULL, OPT_LORA},
        {"seed", required_argument, NULL, OPT_SEED},
        {"tiles", required_argument, NULL, OPT_TILES},
        {"precision", required_argument, NULL, OPT_PRECISION},
        {"profile", required_argument, NULL, OPT_PROFILE},
        {"repeat", required_argument, NULL, OPT_REPEAT},
        {"layers", no_argument, NULL, OPT_LAYERS},
        {"json", no_argument, NULL, OPT_JSON},
        {"gradient-checkpointing", no_argument, NULL, OPT_CHECKPOINTING},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", list, NULL)) != -1) {
        if (option == OPT_HELP || option == OPT_VERSION) {
            (void)fputs(option == OPT_HELP ? USAGE : "pft-worker " PFT_VERSION "\n", stdout);
            exit(0);
        }
        enum err error = take_option(o, option, optarg, e);
        if (error != OK) {
            return error;
        }
    }
    if (!o->model) {
        return err_set(e, ERR_USAGE, "--model FILE is needed");
    }
    const bool alone = o->probe || o->units;
    if (argc - optind != (alone ? 0 : 1)) {
        return err_set(e, ERR_USAGE, "%s",
                       alone ? "--probe and --profile take no address" : "one ADDRESS is needed");
    }
    o->address = alone ? NULL : argv[optind];
    return alone ? OK : address_check_connect(o->address, e);
}

static enum err engine_settings(const struct options *o, const struct model_file *mf,
                                enum kernels_level level, struct engine_config *config,
                                struct errbuf *e)
{
    *config = (struct engine_config){.shape = *model_shape(mf),
                                     .kernels = level,
                                     .seed = o->seed,
                                     .threads = (uint32_t)o->threads,
                                     .checkpointing = o->checkpointing};
    if (o->lora && sscanf(o->lora, "%u,%f,%u,%f", &config->lora.r, &config->lora.alpha,
                          &config->lora.targets, &config->lora.dropout) != 4) {
        return err_set(e, ERR_USAGE, "--lora %s: R,ALPHA,TARGETS,DROPOUT wanted", o->lora);
    }
    if (o->precision && strcmp(o->precision, "bf16") == 0) {
        config->precision = ENGINE_BF16;
    } else if (o->precision && strcmp(o->precision, "fp32") != 0) {
        return err_set(e, ERR_USAGE, "--precision %s: fp32 or bf16 wanted", o->precision);
    }
    if (o->tiles && sscanf(o->tiles, "%u,%u", &config->tile_rows, &config->tile_cols) != 2) {
        return err_set(e, ERR_USAGE, "--tiles %s: ROWS,COLS wanted", o->tiles);
    }
    return OK;
}

static enum err print_probe(const struct options *o, const struct model_file *mf,
                            enum kernels_level level, struct errbuf *e)
{
    struct engine_config config;
    struct weights weights = {0};
    struct engine *engine = NULL;
    struct engine_slot *slot = NULL;
    uint8_t digest[HASH_XXH128_BYTES];
    enum err error = engine_settings(o, mf, level, &config, e);
    if (error == OK) {
        char hash[HASH_SHA256_HEX];
        struct errbuf note;
        error = model_hash(mf, hash, e);
        if (error == OK) {
            error = weights_open(&weights, mf, hash, NULL, WEIGHTS_SHARE_FLOATS, &note, e);
        }
    }
    if (error == OK) {
        error = engine_new(&config, &weights, &engine, e);
    }
    if (error == OK) {
        error = engine_slot_new(engine, 0, &slot, e);
    }
    if (error == OK) {
        error = engine_probe(slot, digest, e);
    }
    if (error == OK) {
        char hex[WIRE_DIGEST_HEX];
        digest_hex(digest, hex);
        (void)printf("%s\n", hex);
    }
    engine_slot_free(&slot);
    engine_free(&engine);
    weights_free(&weights);
    return error;
}

static enum err print_profile(const struct options *o, const struct model_file *mf,
                              enum kernels_level level, struct errbuf *e)
{
    struct profile_options p = {.model = mf,
                                .units = o->units,
                                .slots = (uint32_t)o->slots,
                                .repeat = (uint32_t)o->repeat,
                                .json = o->json,
                                .layers = o->layers};
    enum err error = engine_settings(o, mf, level, &p.config, e);
    return error == OK ? profile_run(&p, e) : error;
}

static enum agent_exit serve(const struct options *o, const struct model_file *mf, char **argv,
                             struct errbuf *e)
{
    char hash[HASH_SHA256_HEX];
    enum err error = model_hash(mf, hash, e);
    if (error != OK) {
        log_event(LOG_ERROR, "model_failed", "%s", e->text);
        return AGENT_EXIT_ERROR;
    }
    const struct client_config client = {.address = o->address,
                                         .id = o->id,
                                         .key = o->key_path ? &o->key : NULL,
                                         .slots = (uint32_t)o->slots,
                                         .threads = (uint32_t)o->threads,
                                         .checkpointing = o->checkpointing,
                                         .give_up_ms = o->give_up_s * 1000,
                                         .model = mf,
                                         .model_hash = hash,
                                         .argv = argv};
    return client_run(&client);
}

static enum err read_key(struct options *o, struct errbuf *e)
{
    enum err error = o->key_path ? key_file_read(o->key_path, &o->key, e) : OK;
    return error == OK && o->key_path && o->key.role != KEY_WORKER
               ? err_set(e, ERR_REFUSED,
                         "%s: is the key of %s '%s'; computing needs a worker's "
                         "(pft keys add DIR NAME --role worker)",
                         o->key_path, key_role_name(o->key.role), o->key.name)
               : error;
}

/* The level to start with; the run's may be another one, for which the worker starts anew. */
static enum err first_level(const char *name, enum kernels_level *level, struct errbuf *e)
{
    if (!name || strcmp(name, "native") == 0) {
        uint32_t native = 0;
        enum err error = cpu_native_level(&native, e);
        *level = (enum kernels_level)native;
        return error;
    }
    return kernels_level_from(name, level)
               ? OK
               : err_set(e, ERR_USAGE, "--kernels %s: portable, x86-64-v3, x86-64-v4 or native",
                         name);
}

int main(int argc, char **argv)
{
    struct options o = {.slots = 1, .threads = 1, .repeat = 1};
    struct errbuf e = {{0}};
    enum kernels_level level = KERNELS_PORTABLE;
    const bool begun = program_begin("pft-worker", &argc, &argv);
    log_init("worker", LOG_INFO);
    program_pauses();
    if (!begun) {
        return AGENT_EXIT_HURRIED;
    }
    (void)umask(077);
    enum err error = FAILPOINT_SETUP("worker", &e);
    if (error == OK) {
        error = parse(argc, argv, &o, &e);
    }
    if (error == OK) {
        error = first_level(o.kernels, &level, &e);
    }
    if (error != OK) {
        (void)fprintf(stderr, "pft-worker: %s\n", e.text);
        return AGENT_EXIT_USAGE;
    }
    error = read_key(&o, &e);
    if (error != OK) {
        (void)fprintf(stderr, "pft-worker: %s\n", e.text);
        return error == ERR_REFUSED ? AGENT_EXIT_REFUSED : AGENT_EXIT_ERROR;
    }
    error = kernels_level_prepare(level, argv, &e);
    if (error != OK) {
        (void)fprintf(stderr, "pft-worker: %s\n", e.text);
        return error == ERR_UNSUPPORTED ? AGENT_EXIT_REFUSED : AGENT_EXIT_ERROR;
    }
    struct model_file *mf = NULL;
    enum agent_exit code = AGENT_EXIT_ERROR;
    char path[FILE_PATH_BYTES];
    error = model_resolve(o.model, path, &e);
    if (error == OK) {
        error = model_open(path, &mf, &e);
    }
    if (error == OK && (o.probe || o.units)) {
        error = o.probe ? print_probe(&o, mf, level, &e) : print_profile(&o, mf, level, &e);
        code = error == OK          ? AGENT_EXIT_DONE
               : error == ERR_USAGE ? AGENT_EXIT_USAGE
                                    : AGENT_EXIT_ERROR;
    } else if (error == OK) {
        code = serve(&o, mf, argv, &e);
    }
    if (error != OK) {
        (void)fprintf(stderr, "pft-worker: %s\n", e.text);
    }
    model_close(&mf);
    key_clear(&o.key);
    return code;
}
