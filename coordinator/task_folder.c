/* task_folder.c - DIR/tasks/N. */
#include "coordinator/task_folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/failpoint.h"
#include "common/base/json_memory.h"
#include "common/base/mem.h"
#include "common/base/str.h"

enum { ORDER_BYTES = 8 * TASK_ORDER_BYTES, TASK_DIGITS = 15 /* below 2^53, the last number */ };

enum err task_folder_path(char out[FILE_PATH_BYTES], const char *dir, uint64_t id, struct errbuf *e)
{
    char name[48];
    (void)snprintf(name, sizeof name, "tasks/%" PRIu64, id);
    return file_join(out, dir, name, e);
}

enum err task_folder_file(char out[FILE_PATH_BYTES], const char *dir, uint64_t id, const char *name,
                          struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    enum err error = task_folder_path(folder, dir, id, e);
    return error == OK ? file_join(out, folder, name, e) : error;
}

const char *task_folder_result(enum task_sort sort)
{
    return sort == TASK_EVALUATE ? "result.json" : "report.md";
}

static void add_field(struct str *text, const char *key, const char *value)
{
    str_addf(text, ", \"%s\": ", key);
    str_add_json(text, value ? value : "", value ? strlen(value) : 0);
}

static enum err write_order(const char *dir, uint64_t id, const struct task_order *order,
                            struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    struct str text = {0};
    str_addf(&text, "{\"schema\": 1, \"sort\": \"%s\"", task_sort_name(order->sort));
    add_field(&text, "name", order->name);
    add_field(&text, "from", order->from);
    add_field(&text, "sets", order->sets);
    str_add(&text, "}\n");
    enum err error = task_folder_file(path, dir, id, "order.json", e);
    if (error == OK) {
        error = str_ok(&text) == OK ? file_write_atomic(path, text.data, text.len, e)
                                    : err_set(e, ERR_NOMEM, "no memory for the order of a task");
    }
    str_free(&text);
    return error;
}

enum err task_folder_make(const char *dir, uint64_t id, const struct task_order *order,
                          struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = task_folder_path(path, dir, id, e);
    if (error == OK && FAILPOINT_FAILS("task.make")) {
        return err_set(e, err_from_errno(errno), "%s: cannot be made: %s", path, strerror(errno));
    }
    if (error == OK) {
        error = file_make_folder(path, e);
    }
    if (error == OK) {
        error = task_folder_file(path, dir, id, "config.yaml", e);
    }
    if (error == OK && order->config && order->config[0] != '\0') {
        error = file_write_atomic(path, order->config, strlen(order->config), e);
    }
    if (error == OK) {
        error = write_order(dir, id, order, e);
    }
    if (error == OK) { /* the folder's own name, and that of the folder of all */
        error = file_join(path, dir, "tasks", e);
    }
    if (error == OK) {
        error = file_sync_folder(path, e);
    }
    if (error == OK) {
        error = file_sync_folder(dir, e);
    }
    FAILPOINT("task.made");
    return error;
}

static char *copy_text(const json_t *root, const char *key)
{
    const char *value = json_string_value(json_object_get(root, key));
    return mem_strdup(value ? value : "");
}

static enum err read_order(const json_t *root, struct task_order *order, struct errbuf *e)
{
    const char *sort = json_string_value(json_object_get(root, "sort"));
    const char *name = json_string_value(json_object_get(root, "name"));
    for (enum task_sort i = TASK_TRAIN; sort && i < TASK_SORTS; i++) {
        order->sort = strcmp(sort, task_sort_name(i)) == 0 ? i : order->sort;
    }
    if (order->sort == TASK_NOTHING) {
        return err_set(e, ERR_PARSE, "no sort of task is named");
    }
    (void)snprintf(order->name, sizeof order->name, "%s", name ? name : "");
    order->from = copy_text(root, "from");
    order->sets = copy_text(root, "sets");
    return order->from && order->sets ? OK : err_set(e, ERR_NOMEM, "no memory for an order");
}

enum err task_folder_order(const char *dir, uint64_t id, struct task_order *order, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    *order = (struct task_order){0};
    enum err error = task_folder_file(path, dir, id, "order.json", e);
    if (error == OK) {
        error = file_read(path, ORDER_BYTES, &text, &bytes, e);
    }
    if (error != OK) {
        return error;
    }
    json_error_t where;
    json_t *root = NULL;
    error = json_memory_load(text, bytes, 0, &root, &where);
    mem_free(text);
    if (error == OK) {
        error = read_order(root, order, e);
    } else if (error == ERR_NOMEM) {
        (void)err_set(e, error, "no memory for %zu bytes", bytes);
    } else {
        (void)err_set(e, error, "line %d: %s", where.line, where.text);
    }
    json_decref(root);
    if (error != OK) {
        task_order_free(order);
        error = err_prefix(e, error, "%s", path);
    }
    return error;
}

static enum err add_file(const char *dir, uint64_t id, const char *name, struct str *text,
                         struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char *data = NULL;
    size_t bytes = 0;
    enum err error = task_folder_file(path, dir, id, name, e);
    if (error == OK && file_exists(path)) {
        error = file_read(path, ORDER_BYTES, &data, &bytes, e);
    }
    str_addf(text, "%s %zu\n", name, bytes);
    str_append(text, data ? data : "", bytes);
    mem_free(data);
    return error;
}

enum err task_folder_digest(const char *dir, uint64_t id, char hex[HASH_SHA256_HEX],
                            struct errbuf *e)
{
    struct str text = {0};
    enum err error = add_file(dir, id, "order.json", &text, e);
    error = error == OK ? add_file(dir, id, "config.yaml", &text, e) : error;
    if (error == OK && str_ok(&text) != OK) {
        error = err_set(e, ERR_NOMEM, "no memory for the order of a task");
    }
    if (error == OK) {
        hash_sha256_hex(text.data, text.len, hex);
    }
    str_free(&text);
    return error;
}

enum err task_folder_last(const char *dir, uint64_t *last, struct errbuf *e)
{
    char tasks[FILE_PATH_BYTES];
    enum err error = file_join(tasks, dir, "tasks", e);
    DIR *folder = error == OK ? opendir(tasks) : NULL;
    *last = 0;
    if (error == OK && !folder) {
        return err_set(e, err_from_errno(errno), "%s: cannot be read: %s", tasks, strerror(errno));
    }
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        uint64_t id = 0;
        size_t digits = strspn(entry->d_name, "0123456789");
        if (entry->d_name[digits] == '\0' && digits <= TASK_DIGITS &&
            sscanf(entry->d_name, "%" SCNu64, &id) == 1 && id > *last) {
            *last = id;
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
    return error;
}
