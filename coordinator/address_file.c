/* address_file.c - socket paths and address.json. */
#include "coordinator/address_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/str.h"

static enum err default_address(const char *folder, const char *name, char out[ADDRESS_BYTES])
{
    int n = snprintf(out, ADDRESS_BYTES, "ipc://%s/%s", folder, name);
    return n > 0 && n < ADDRESS_BYTES ? address_check_bind(out, false, NULL) : ERR_RANGE;
}

static enum err make_folder(struct address_file *a, struct errbuf *e)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    (void)snprintf(a->folder, sizeof a->folder, "%s/pft-XXXXXX",
                   base && base[0] == '/' && access(base, W_OK) == 0 && strlen(base) < 60 ? base
                                                                                          : "/tmp");
    if (!mkdtemp(a->folder)) {
        enum err error = err_from_errno(errno);
        a->folder[0] = '\0';
        return err_set(e, error, "cannot make a folder for the sockets: %s", strerror(errno));
    }
    return OK;
}

enum err address_file_choose(const char *run, const char *jobs, const char *status, bool keys,
                             struct address_file *a, struct errbuf *e)
{
    *a = (struct address_file){.jobs = ""};
    enum err error = file_join(a->path, run, "address.json", e);
    char real[PATH_MAX];
    if (error == OK && !realpath(run, real)) {
        error = err_set(e, err_from_errno(errno), "%s: %s", run, strerror(errno));
    }
    if (error != OK) {
        return error;
    }
    bool fits = default_address(real, "jobs.sock", a->jobs) == OK &&
                default_address(real, "status.sock", a->status) == OK;
    if (!fits && (!jobs || !status)) {
        error = make_folder(a, e);
        if (error == OK && (default_address(a->folder, "jobs.sock", a->jobs) != OK ||
                            default_address(a->folder, "status.sock", a->status) != OK)) {
            error = err_set(e, ERR_RANGE, "%s: too long for a socket", a->folder);
        }
    }
    const char *given[] = {jobs, status};
    char *const out[] = {a->jobs, a->status};
    for (size_t i = 0; i < 2 && error == OK; i++) {
        if (given[i]) {
            error = address_check_bind(given[i], keys, e);
            (void)snprintf(out[i], ADDRESS_BYTES, "%s", given[i]);
        }
    }
    if (error != OK) {
        address_file_remove(a, false);
    }
    return error;
}

enum err address_file_write(const struct address_file *a, const char *jobs, const char *status,
                            struct errbuf *e)
{
    struct str text = {0};
    str_add(&text, "{\"jobs\": ");
    str_add_json(&text, jobs, strlen(jobs));
    str_add(&text, ", \"status\": ");
    str_add_json(&text, status, strlen(status));
    str_addf(&text, ", \"pid\": %ld}\n", (long)getpid());
    enum err error = str_ok(&text);
    if (error == OK && FAILPOINT_FAILS("address.write")) {
        error = err_set(e, err_from_errno(errno), "%s: cannot be written: %s", a->path,
                        strerror(errno));
    }
    if (error == OK) {
        error = file_write_atomic(a->path, text.data, text.len, e);
    }
    FAILPOINT("address.written");
    str_free(&text);
    return error;
}

void address_file_remove(const struct address_file *a, bool served)
{
    const char *const addresses[] = {a->jobs, a->status};
    (void)unlink(a->path);
    for (size_t i = 0; i < 2; i++) {
        const char *path = address_ipc_path(addresses[i]);
        char tensors[ADDRESS_BYTES + 16];
        if (path && served) {
            (void)snprintf(tensors, sizeof tensors, "%s.tensors", path);
            (void)unlink(path);
            (void)unlink(tensors);
        }
    }
    if (a->folder[0] != '\0') {
        (void)rmdir(a->folder);
    }
}
