/* keys_command.c - pft keys: a folder of keys is made, filled, shown, thinned.
 *
 * DIR/server.key   the coordinator's secret key (0600)
 * DIR/NAME.key     what pft keys add hands out, unless --out says where (0600)
 * DIR/allowed/     who may come in (common/net/allow_list.h) */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "common/base/file.h"
#include "common/net/allow_list.h"

struct keys_command {
    const char *folder, *name, *role, *out;
};

static enum err server_path(const char *folder, char path[FILE_PATH_BYTES], struct errbuf *e)
{
    return file_join(path, folder, "server.key", e);
}

static enum err init(const struct keys_command *c, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char allowed[FILE_PATH_BYTES];
    struct key_file key = {.name = "coordinator", .role = KEY_COORDINATOR};
    enum err error = server_path(c->folder, path, e);
    if (error == OK && file_exists(path)) {
        error = err_set(e, ERR_REFUSED,
                        "%s: is there already; the keys handed out fit only it, so "
                        "it is never made anew. Choose another folder",
                        path);
    }
    if (error == OK) {
        error = file_join(allowed, c->folder, "allowed", e);
    }
    if (error == OK) {
        error = file_make_folder(allowed, e);
    }
    key_generate(&key);
    if (error == OK) {
        error = key_file_write(path, &key, e);
    }
    if (error == OK) {
        (void)printf("%s: for pft-coordinator --keys %s; keep it on that machine\n", path,
                     c->folder);
    }
    key_clear(&key);
    return error;
}

static enum err add(const struct keys_command *c, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char file[KEY_NAME_BYTES + 8];
    struct key_file server = {.name = ""};
    struct key_file key = {.name = ""};
    enum err error = key_name_check(c->name, e);
    if (error == OK &&
        (!c->role || !key_role_from(c->role, &key.role) || key.role == KEY_COORDINATOR)) {
        error = err_set(e, ERR_USAGE, "--role %s: worker, observer or operator is wanted",
                        c->role ? c->role : "");
    }
    if (error == OK) {
        error = server_path(c->folder, path, e);
    }
    if (error == OK) {
        error = key_file_read(path, &server, e);
    }
    if (error == OK) {
        memcpy(key.server, server.public_key, KEY_BYTES);
        (void)snprintf(key.name, sizeof key.name, "%s", c->name);
        (void)snprintf(file, sizeof file, "%s.key", c->name);
        key_generate(&key);
        error = file_join(path, c->out ? "." : c->folder, c->out ? c->out : file, e);
    }
    if (error == OK) {
        error = key_file_write(path, &key, e);
    }
    if (error == OK) {
        error = allow_list_add(c->folder, &key, e);
        if (error != OK) {
            (void)remove(path);
        }
    }
    if (error == OK) {
        (void)printf("%s: key of %s %s; move it to where it is used\n", path,
                     key_role_name(key.role), key.name);
    }
    key_clear(&key);
    key_clear(&server);
    return error;
}

static enum err list(const struct keys_command *c, struct errbuf *e)
{
    struct allow_list all;
    enum err error = allow_list_read(c->folder, &all, e);
    if (error != OK) {
        return error;
    }
    for (size_t i = 0; i < all.n; i++) {
        char hex[KEY_HEX];
        key_hex(all.keys[i].public_key, hex);
        (void)printf("%-24s %-9s %-8s %s\n", all.keys[i].name, key_role_name(all.keys[i].role),
                     all.keys[i].revoked ? "revoked" : "allowed", hex);
    }
    if (all.n == 0) {
        (void)fprintf(stderr, "(no keys; pft keys add %s NAME --role worker makes one)\n",
                      c->folder);
    }
    if (all.damaged > 0) {
        error = err_set(e, ERR_CORRUPT, "%zu files are of no use, the first: %s", all.damaged,
                        all.first.text);
    }
    allow_list_free(&all);
    return error;
}

static enum err revoke(const struct keys_command *c, struct errbuf *e)
{
    enum err error = allow_list_revoke(c->folder, c->name, e);
    if (error == OK) {
        (void)printf("%s: revoked; a running coordinator cuts it off within a second\n", c->name);
    }
    return error;
}

static const struct action {
    const char *word;
    enum err (*run)(const struct keys_command *c, struct errbuf *e);
    bool named; /* takes a NAME */
} actions[] = {
    {"init", init, false}, {"add", add, true}, {"list", list, false}, {"revoke", revoke, true}};

static const struct action *find_action(const struct args *a, struct errbuf *e)
{
    for (size_t i = 0; a->n_positional > 0 && i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].word, a->positional[0]) != 0) {
            continue;
        }
        if (a->n_positional == (actions[i].named ? 3 : 2)) {
            return &actions[i];
        }
        (void)err_set(e, ERR_USAGE, "pft keys %s takes DIR%s; usage: %s", actions[i].word,
                      actions[i].named ? " and NAME" : "", a->usage);
        return NULL;
    }
    (void)err_set(e, ERR_USAGE, "init, add, list or revoke is wanted; usage: %s", a->usage);
    return NULL;
}

int cli_keys(int argc, char **argv)
{
    struct keys_command c = {.folder = NULL};
    struct errbuf e = {0};
    const struct args_option options[] = {
        {"--role", "ROLE", "of add: worker, observer (status) or operator (status, drain, stop)",
         &c.role, NULL, NULL},
        {"--out", "FILE", "of add: where the secret key goes (default: DIR/NAME.key)", &c.out, NULL,
         NULL}};
    struct args a = {
        .usage = "pft keys init DIR | add DIR NAME --role ROLE [--out FILE] | list DIR | "
                 "revoke DIR NAME",
        .what = "Makes and withdraws the keys that a coordinator with --keys DIR asks for "
                "(docs/keys.md).",
        .options = options,
        .n_options = sizeof options / sizeof options[0]};
    (void)umask(077);
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    const struct action *action = error == OK ? find_action(&a, &e) : NULL;
    error = error == OK && !action ? ERR_USAGE : error;
    if (error == OK && (c.role || c.out) && strcmp(action->word, "add") != 0) {
        error = err_set(&e, ERR_USAGE, "--role and --out go with pft keys add");
    }
    if (error == OK) {
        c.folder = a.positional[1];
        c.name = a.positional[2];
        error = action->run(&c, &e);
    }
    return error == OK ? CLI_OK : cli_explain("pft keys", error, &e);
}
