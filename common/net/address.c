/* address.c - parsing of ipc and tcp addresses. */
#include "common/net/address.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/text/utf8.h"

static const char IPC[] = "ipc://";
static const char TCP[] = "tcp://";
static const char TENSORS[] = ".tensors";

const char *address_ipc_path(const char *address)
{
    return strncmp(address, IPC, sizeof IPC - 1) == 0 ? address + sizeof IPC - 1 : NULL;
}

static bool is_utf8(const char *text)
{
    size_t left = strlen(text);
    size_t n = 1;
    uint32_t code;
    for (; left > 0 && n > 0; text += n, left -= n) {
        n = utf8_get(text, left, &code);
    }
    return left == 0;
}

static enum err check_ipc(const char *address, const char *path, struct errbuf *e)
{
    if (path[0] == '\0' || path[0] == '@' || path[0] == '*') {
        return err_set(e, ERR_USAGE,
                       "%s: a path of a socket file is needed (names without a file have no "
                       "permissions)",
                       address);
    }
    if (strlen(path) + sizeof TENSORS - 1 > ADDRESS_IPC_PATH_BYTES) {
        return err_set(e, ERR_USAGE,
                       "%s: the path has %zu bytes, at most %zu fit a socket's name; use a "
                       "shorter one",
                       address, strlen(path), ADDRESS_IPC_PATH_BYTES - (sizeof TENSORS - 1));
    }
    return is_utf8(path) ? OK
                         : err_set(e, ERR_USAGE,
                                   "%s: the path is no UTF-8, which address.json needs; use "
                                   "another one",
                                   address);
}

/* tcp://host:port -> host, port; port 0 stands for "*". */
static enum err split_tcp(const char *address, char host[ADDRESS_BYTES], uint32_t *port,
                          struct errbuf *e)
{
    if (strncmp(address, TCP, sizeof TCP - 1) != 0 || strlen(address) >= ADDRESS_BYTES) {
        return err_set(e, ERR_USAGE, "%s: an address is ipc://PATH or tcp://HOST:PORT", address);
    }
    const char *rest = address + sizeof TCP - 1;
    const char *colon = strrchr(rest, ':');
    if (!colon || colon == rest) {
        return err_set(e, ERR_USAGE, "%s: tcp://HOST:PORT wanted", address);
    }
    memcpy(host, rest, (size_t)(colon - rest));
    host[colon - rest] = '\0';
    if (strcmp(colon + 1, "*") == 0) {
        *port = 0;
        return OK;
    }
    uint32_t value = 0;
    size_t digits = strspn(colon + 1, "0123456789");
    for (size_t i = 0; i < digits && i < 6; i++) {
        value = value * 10 + (uint32_t)(colon[1 + i] - '0');
    }
    if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' || value == 0 || value > 65534) {
        return err_set(e, ERR_USAGE, "%s: port %s, 1 to 65534 are possible", address, colon + 1);
    }
    *port = value;
    return OK;
}

static bool is_loopback(const char *host)
{
    struct in_addr four;
    if (inet_pton(AF_INET, host, &four) == 1) {
        return (ntohl(four.s_addr) >> 24) == 127;
    }
    return strcmp(host, "[::1]") == 0;
}

enum err address_check_bind(const char *address, bool keys, struct errbuf *e)
{
    const char *path = address_ipc_path(address);
    if (path) {
        return check_ipc(address, path, e);
    }
    char host[ADDRESS_BYTES];
    uint32_t port;
    enum err error = split_tcp(address, host, &port, e);
    if (error != OK || is_loopback(host)) {
        return error;
    }
    if (!keys) {
        return err_set(e, ERR_REFUSED,
                       "%s: would be open to everybody who can reach this machine; make keys with "
                       "pft keys init DIR and give them with --keys DIR, or bind 127.0.0.1, [::1] "
                       "or an ipc:// path",
                       address);
    }
    return port != 0 ? OK
                     : err_set(e, ERR_USAGE,
                               "%s: beyond loopback a port is needed, workers elsewhere could not "
                               "know it",
                               address);
}

enum err address_check_connect(const char *address, struct errbuf *e)
{
    const char *path = address_ipc_path(address);
    if (path) {
        return check_ipc(address, path, e);
    }
    char host[ADDRESS_BYTES];
    uint32_t port;
    enum err error = split_tcp(address, host, &port, e);
    if (error == OK && port == 0) {
        error = err_set(e, ERR_USAGE, "%s: a port is needed to connect", address);
    }
    return error;
}

enum err address_tensor(const char *control, char out[ADDRESS_BYTES], struct errbuf *e)
{
    const char *path = address_ipc_path(control);
    int n;
    if (path) {
        enum err error = check_ipc(control, path, e);
        if (error != OK) {
            return error;
        }
        n = snprintf(out, ADDRESS_BYTES, "%s%s", control, TENSORS);
    } else {
        char host[ADDRESS_BYTES];
        uint32_t port;
        enum err error = split_tcp(control, host, &port, e);
        if (error != OK) {
            return error;
        }
        n = port == 0 ? snprintf(out, ADDRESS_BYTES, "%s%s:*", TCP, host)
                      : snprintf(out, ADDRESS_BYTES, "%s%s:%u", TCP, host, port + 1);
    }
    if (n < 0 || n >= ADDRESS_BYTES) {
        return err_set(e, ERR_USAGE, "%s: longer than %d bytes", control, ADDRESS_BYTES - 1);
    }
    return OK;
}
