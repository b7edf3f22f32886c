/* address_file.c - socket paths and address.json. */
#include "coordinator/address_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/str.h"

enum { BASE_BYTES = 60 }; /* of a folder below which a socket's name fits */

static enum err default_address(const char *folder, const char *name, char out[ADDRESS_BYTES])
{
    int n = snprintf(out, ADDRESS_BYTES, "ipc://%s/%s", folder, name);
    return n > 0 && n < ADDRESS_BYTES ? address_check_bind(out, false, NULL) : ERR_RANGE;
}

/* Some file systems (shared folders of a container's host, CIFS) hold no sockets. */
static bool takes_sockets(const char *folder)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int n = snprintf(name.sun_path, sizeof name.sun_path, "%s/%ld.sock", folder, (long)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && n > 0 && (size_t)n < sizeof name.sun_path &&
                 bind(fd, (const struct sockaddr *)&name, sizeof name) == 0;
    if (bound) {
        (void)unlink(name.sun_path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return bound;
}

static enum err make_folder(struct address_file *a, struct errbuf *e)
{
    const char *const places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    int errnum = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *base = places[i];
        if (!base || base[0] != '/' || strlen(base) > BASE_BYTES) {
            continue;
        }
        (void)snprintf(a->folder, sizeof a->folder, "%s/pft-XXXXXX", base);
        if (mkdtemp(a->folder) && takes_sockets(a->folder)) {
            return OK;
        }
        errnum = errno;
        (void)rmdir(a->folder); /* it may not be there */
    }
    a->folder[0] = '\0';
    return err_set(e, err_from_errno(errnum),
                   "cannot make a folder for the sockets in XDG_RUNTIME_DIR, TMPDIR or /tmp: %s",
                   strerror(errnum));
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
                default_address(real, "status.sock", a->status) == OK && takes_sockets(real);
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
