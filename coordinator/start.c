/* start.c - opens the run folder and brings the parameters to where they were. */
#include "coordinator/start.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "common/base/check.h"
#include "common/base/failpoint.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/wire/shape_digest.h"
#include "coordinator/control_vector.h"
#include "coordinator/go_back.h"
#include "coordinator/recover.h"

/* out = the text of a meta key, "" when there is none. */
static enum err get(struct journal *j, const char *key, struct str *out, struct errbuf *e)
{
    str_clear(out);
    enum err error = journal_meta_get(j, key, out, e);
    if (error == ERR_NOT_FOUND) {
        str_clear(out);
        str_add(out, "");
        error = str_ok(out);
    }
    return error;
}

static enum err load_config(const struct start_options *o, struct run_config **cfg,
                            struct errbuf *e)
{
    if (o->config) {
        return config_load(o->config, o->sets, o->n_sets, cfg, e);
    }
    struct journal *j = NULL;
    struct str text = {0};
    enum err error = journal_open_reader(o->from, &j, e);
    if (error == OK) {
        error = journal_meta_get(j, "config", &text, e);
    }
    if (error == OK) {
        error = config_parse(text.data, text.len, "config of the run", o->from, o->sets, o->n_sets,
                             cfg, e);
    }
    str_free(&text);
    journal_close(&j);
    return error;
}

/* Whether the run that wrote this file can be told from nothing by it. */
static bool tells_of_a_run(const char *name)
{
    bool log = strncmp(name, "steps", 5) == 0 && strstr(name, ".log") != NULL;
    return log || strcmp(name, "run.db-wal") == 0 || strcmp(name, "run.db-journal") == 0 ||
           strstr(name, ".ckpt") != NULL;
}

/* found: "" or a file with something in it, in run or run/under, that only a run leaves there. */
static void find_leftover(const char *run, const char *under, char found[FILE_PATH_BYTES])
{
    char folder[FILE_PATH_BYTES];
    struct stat info;
    bool fits = under ? file_join(folder, run, under, NULL) == OK
                      : snprintf(folder, sizeof folder, "%s", run) < (int)sizeof folder;
    DIR *dir = fits ? opendir(folder) : NULL;
    for (struct dirent *entry; dir && found[0] == '\0' && (entry = readdir(dir)) != NULL;) {
        char path[FILE_PATH_BYTES];
        if (tells_of_a_run(entry->d_name) && file_join(path, folder, entry->d_name, NULL) == OK &&
            stat(path, &info) == 0 && info.st_size > 0) {
            memcpy(found, path, sizeof path);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

/* Without run.db nobody knows what steps.log and the checkpoints are of: neither goes on with them
 * nor writes over them. */
static enum err check_leftovers(const char *run, struct errbuf *e)
{
    char found[FILE_PATH_BYTES] = "";
    find_leftover(run, NULL, found);
    find_leftover(run, "checkpoints", found);
    return found[0] == '\0'
               ? OK
               : err_set(e, ERR_REFUSED,
                         "%s: run.db is gone, %s of a run is still there: restore run.db and "
                         "run.db-wal from a backup and give --resume, or start a new run with "
                         "another --out (or move the folder's files away)",
                         run, found);
}

static enum err open_folder(const struct start_options *o, struct start *s, struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    enum err error = file_join(db, o->run, "run.db", e);
    if (error != OK) {
        return error;
    }
    bool there = file_exists(db);
    if (!there) {
        error = check_leftovers(o->run, e);
    }
    if (error == OK && o->resume && !there) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no run to resume; leave --resume out",
                       o->run);
    }
    error = error == OK ? journal_open(o->run, &s->journal, e) : error;
    s->fresh = error == OK && !there;
    if (error == OK && there && !o->resume) {
        error = err_set(e, ERR_REFUSED,
                        "%s: holds a run already; --resume goes on with it, another --out starts "
                        "a new one",
                        o->run);
    }
    if (error == OK && there && o->eval_only && journal_steps(s->journal) > 0) {
        error =
            err_set(e, ERR_REFUSED,
                    "%s: holds a training run, an evaluation needs a folder of its own", o->run);
    }
    return error;
}

/* A refusal when what decides the bits is not what the run was made with; says what differs. A run
 * of an earlier version has kept the hash alone. */
static enum err check_fixed(const struct start_options *o, struct start *s, const char *fixed,
                            struct errbuf *e)
{
    struct str earlier = {0};
    struct str changes = {0};
    if (fixed[0] == '\0' && journal_steps(s->journal) > 0) {
        return err_set(e, ERR_CORRUPT,
                       "%s/run.db: has steps, but no entry fixed, the digest of the settings that "
                       "they were made with",
                       o->run);
    }
    if (fixed[0] == '\0' || strcmp(fixed, s->setup.fixed_hex) == 0) {
        return OK;
    }
    enum err error = get(s->journal, "fixed_text", &earlier, e);
    if (error == OK && earlier.len > 0) {
        setup_difference(earlier.data, s->setup.fixed_text.data, &changes);
    } else if (error == OK) {
        str_addf(&changes, "fingerprint: was %.16s..., now %.16s...", fixed, s->setup.fixed_hex);
    }
    error = error == OK ? str_ok(&changes) : error;
    if (error == OK) {
        error = err_set(e, ERR_REFUSED,
                        "%s: the run was made with other settings, data or model than these (%s); "
                        "go on with the same ones, or start a new run with another --out",
                        o->run, changes.data);
    }
    str_free(&earlier);
    str_free(&changes);
    return error;
}

enum err start_check_order(struct journal *j, const char *run, const char *order, struct errbuf *e)
{
    struct str kept = {0};
    enum err error = get(j, "order", &kept, e);
    if (error == OK && kept.len > 0 && strcmp(kept.data, order) != 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: the run in it was begun for another order than its order.json and "
                        "config.yaml are (SHA-256 was %.16s..., is %.16s...); restore these two "
                        "files, or submit the order again: it gets a folder of its own",
                        run, kept.data, order);
    }
    str_free(&kept);
    return error;
}

static enum err keep_settings(struct start *s, struct errbuf *e)
{
    struct str config = {0};
    struct model_description d = model_describe(s->setup.model);
    config_dump(s->setup.cfg, &config);
    enum err error = str_ok(&config);
    const struct {
        const char *key, *value;
    } list[] = {{"config", config.data},
                {"values", s->setup.values ? s->setup.values->text : ""},
                {"model_hash", s->setup.model_hash},
                {"model_path", s->setup.model_path},
                {"model_name", d.name},
                {"model_quantisation", d.quantisation},
                {"kernels", s->setup.kernels},
                {"precision", s->setup.precision},
                {"run_id", s->run_id},
                {"order", s->order[0] != '\0' ? s->order : NULL},
                {"fixed_text", s->setup.fixed_text.data},
                {"fixed", s->setup.fixed_hex}};
    for (size_t i = 0; i < sizeof list / sizeof list[0] && error == OK; i++) {
        FAILPOINT("start.settings");
        error = list[i].value ? journal_meta_set(s->journal, list[i].key, list[i].value, e) : OK;
    }
    str_free(&config);
    return error;
}

static enum err name_run(struct start *s, struct errbuf *e)
{
    struct str text = {0};
    enum err error = get(s->journal, "run_id", &text, e);
    if (error == OK && text.len > 0) {
        (void)snprintf(s->run_id, sizeof s->run_id, "%s", text.data);
    } else if (error == OK) {
        uint8_t bits[WIRE_DIGEST_BYTES];
        CHECK(getrandom(bits, sizeof bits, 0) == (ssize_t)sizeof bits);
        digest_hex(bits, s->run_id);
    }
    if (error == OK) {
        error = get(s->journal, "probe", &text, e);
    }
    if (error == OK && text.len == 2 * WIRE_DIGEST_BYTES) {
        s->has_probe = hash_from_hex(text.data, WIRE_DIGEST_BYTES, s->probe);
    }
    if (error == OK) {
        error = get(s->journal, "audits", &s->audits, e);
    }
    if (error == OK) {
        error = get(s->journal, "suspects", &s->suspects, e);
    }
    str_free(&text);
    return error;
}

/* Parameters of this run as of its last committed step. Asked of a run without steps as well: a
 * checkpoint or a log of later steps says that run.db is not the one that was written. */
static enum err recover_own(const char *run, struct start *s, struct errbuf *e)
{
    struct str warnings = {0};
    enum err error = params_new(model_shape(s->setup.model), &s->setup.cfg->lora,
                                s->setup.cfg->train_seed, &s->setup.adamw, &s->params);
    if (error != OK) {
        return err_set(e, error, "no memory for the parameters");
    }
    if (s->goes_back) {
        return go_back(run, s, s->from_step, e);
    }
    error = recover_params(run, s->journal, s->setup.fixed, s->params, &warnings, e);
    if (warnings.len > 0) {
        log_event(LOG_WARN, "recovered_with", "%s", warnings.data);
    }
    if (error == OK && s->params->version > 0) {
        log_event(LOG_INFO, "recovered", "step=%llu", (unsigned long long)s->params->version);
    }
    str_free(&warnings);
    return error;
}

/* Parameters of another run, only read. */
static enum err recover_other(const struct start_options *o, struct start *s, struct errbuf *e)
{
    enum err error = params_new(model_shape(s->setup.model), &s->setup.cfg->lora,
                                s->setup.cfg->train_seed, &s->setup.adamw, &s->params);
    if (error != OK || !o->from) {
        return error == OK ? OK : err_set(e, error, "no memory for the parameters");
    }
    struct journal *j = NULL;
    struct str text = {0};
    error = journal_open_reader(o->from, &j, e);
    if (error == OK) {
        error = get(j, "model_hash", &text, e);
    }
    if (error == OK && strcmp(text.data, s->setup.model_hash) != 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: was trained on a model with SHA-256 %.16s..., not %.16s...", o->from,
                        text.data, s->setup.model_hash);
    }
    if (error == OK && journal_steps(j) > 0) {
        error = recover_params(o->from, j, NULL, s->params, NULL, e);
        s->adapter = true;
    }
    str_free(&text);
    journal_close(&j);
    return error;
}

static enum err find_evals(struct start *s, struct errbuf *e)
{
    struct str json = {0};
    enum err error = journal_eval_get(s->journal, "before", &json, e);
    s->has_before = error == OK;
    if (error == OK || error == ERR_NOT_FOUND) {
        error = journal_eval_get(s->journal, "after", &json, e);
        s->has_after = error == OK;
    }
    str_free(&json);
    return error == ERR_NOT_FOUND ? OK : error;
}

/* What an earlier start scored of the reference. */
static enum err find_reference(struct start *s, struct errbuf *e)
{
    struct str json = {0};
    enum err error = journal_eval_get(s->journal, REFERENCE_NAME, &json, e);
    if (error == OK) {
        error = reference_load(s->setup.reference, json.data, json.len, e);
    }
    str_free(&json);
    return error == ERR_NOT_FOUND ? OK : error;
}

static enum err load_scores(void *context, const char *json, size_t bytes, struct errbuf *e)
{
    return score_book_load(context, json, bytes, e);
}

static enum err find_scores(struct start *s, struct errbuf *e)
{
    enum err error = score_book_new(&s->scores);
    if (error != OK) {
        return err_set(e, error, "no memory for the scores of evaluations");
    }
    return journal_eval_each(s->journal, SCORE_BOOK_PREFIX, load_scores, s->scores, e);
}

/* What every start writes down and reads back. */
static enum err keep_books(struct start *s, struct errbuf *e)
{
    enum err error = keep_settings(s, e);
    if (error == OK) {
        error = journal_meta_count(s->journal, "starts", &s->starts, e);
    }
    if (error == OK) {
        error = find_evals(s, e);
    }
    if (error == OK && s->setup.reference) {
        error = find_reference(s, e);
    }
    if (error == OK) {
        error = find_scores(s, e);
    }
    FAILPOINT("start.kept");
    return error;
}

/* Nothing is written before everything is checked. */
enum err start_go_on(const char *run, struct start *s, struct errbuf *e)
{
    enum err error = name_run(s, e);
    error = error == OK ? recover_own(run, s, e) : error;
    return error == OK ? keep_books(s, e) : error;
}

/* A folder whose files do not fit together is refused; the text says what can be done. */
static enum err with_way_out(const struct start_options *o, enum err error, struct errbuf *e)
{
    struct errbuf why = *e;
    return error != ERR_CORRUPT
               ? error
               : err_set(e, error,
                         "%.*s; restore the whole folder %s from one backup, or start a new run "
                         "with another --out (nothing in the folder was cut)",
                         (int)sizeof why.text / 2, why.text, o->run);
}

static enum err open_all(const struct start_options *o, struct run_config **cfg, struct start *s,
                         struct errbuf *e)
{
    struct str kernels = {0};
    struct str precision = {0};
    struct str fixed = {0};
    enum err error = open_folder(o, s, e);
    if (error == OK && o->order) {
        error = start_check_order(s->journal, o->run, o->order, e);
    }
    if (error == OK) {
        error = get(s->journal, "kernels", &kernels, e);
    }
    if (error == OK) {
        error = get(s->journal, "precision", &precision, e);
    }
    if (error == OK) {
        error = get(s->journal, "fixed", &fixed, e);
    }
    if (error == OK) {
        struct run_config *taken = *cfg;
        *cfg = NULL;
        const struct setup_known known = {
            .kernels = kernels.len > 0 ? kernels.data : NULL,
            .precision = precision.len > 0 ? precision.data : NULL,
        };
        error = setup_open(taken, &known, !o->eval_only, &s->setup, e);
    }
    if (error == OK && o->resume) {
        error = check_fixed(o, s, fixed.data ? fixed.data : "", e);
    }
    str_free(&kernels);
    str_free(&precision);
    str_free(&fixed);
    return error;
}

static enum err load_vectors(const struct start_options *o, struct start *s, struct errbuf *e)
{
    const struct model_shape *shape = model_shape(s->setup.model);
    if (o->steer_values && !o->count) {
        return value_vectors_load(o->steer_values, s->setup.values, s->setup.test,
                                  o->ask.fit > 0 ? s->setup.train : NULL, shape, &s->value_vectors,
                                  e);
    }
    if (o->n_steers == 0) {
        return OK;
    }
    const size_t n = (size_t)shape->layers * shape->hidden;
    s->steer = mem_calloc(n, sizeof *s->steer);
    enum err error = s->steer ? control_vector_load(o->steers, o->n_steers, shape, s->steer, e)
                              : err_set(e, ERR_NOMEM, "no memory for a vector per layer");
    if (error == OK) {
        hash_xxh128(s->steer, n * sizeof *s->steer, s->steer_digest);
    }
    return error;
}

enum err start_open(const struct start_options *o, struct start *s, struct errbuf *e)
{
    *s = (struct start){
        .ask = o->ask, .answers = o->answers, .goes_back = o->goes_back, .from_step = o->from_step};
    (void)snprintf(s->order, sizeof s->order, "%s", o->order ? o->order : "");
    struct run_config *cfg = NULL;
    enum err error = load_config(o, &cfg, e);
    if (error == OK) {
        error = open_all(o, &cfg, s, e);
    }
    if (error == OK && o->eval_only) {
        error = name_run(s, e);
        error = error == OK ? keep_books(s, e) : error;
        error = error == OK ? recover_other(o, s, e) : error;
        error = error == OK ? load_vectors(o, s, e) : error;
    } else if (error == OK) {
        error = start_go_on(o->run, s, e);
    }
    FAILPOINT("start.recovered");
    error = with_way_out(o, error, e);
    config_free(&cfg);
    if (error != OK) {
        bool fresh = s->fresh;
        start_free(s);
        if (fresh) {
            journal_discard(o->run);
        }
    }
    return error;
}

void start_free(struct start *s)
{
    params_free(&s->params);
    score_book_free(&s->scores);
    str_free(&s->audits);
    str_free(&s->suspects);
    mem_free(s->steer);
    value_vectors_free(&s->value_vectors);
    journal_close(&s->journal);
    setup_free(&s->setup);
    *s = (struct start){0};
}
