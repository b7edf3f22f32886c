/* client_unheard.c - why no coordinator may be heard: what this machine can tell of an address. */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/net/address.h"
#include "worker/client_state.h"

struct lookup {
    char address[ADDRESS_BYTES];
    unsigned long long seconds;
};

static void say(const struct lookup *l, const char *why)
{
    log_event(LOG_WARN, "unheard", "no coordinator is heard at %s for %llu s%s%s; trying on",
              l->address, l->seconds, why[0] != '\0' ? ": " : "", why);
}

/* Name servers may take half a minute, and the loop has other work. */
static void *look_up(void *argument)
{
    struct lookup *l = argument;
    char host[ADDRESS_BYTES];
    char why[2 * ADDRESS_BYTES] = "";
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    (void)snprintf(host, sizeof host, "%s", l->address + strlen("tcp://"));
    char *port = strrchr(host, ':');
    if (port) {
        *port = '\0';
    }
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code == 0) {
        freeaddrinfo(found);
    } else {
        (void)snprintf(why, sizeof why, "%s: %s", host, gai_strerror(code));
    }
    say(l, why);
    mem_free(l);
    return NULL;
}

void client_say_unheard(const struct client *c, uint64_t seconds)
{
    const char *path = address_ipc_path(c->cfg.address);
    struct lookup here = {.seconds = seconds};
    (void)snprintf(here.address, sizeof here.address, "%s", c->cfg.address);
    if (path) {
        say(&here, access(path, R_OK | W_OK) == 0 ? "" : strerror(errno));
        return;
    }
    struct lookup *l = mem_calloc(1, sizeof *l);
    pthread_t thread;
    if (l) {
        *l = here;
    }
    if (!l || pthread_create(&thread, NULL, look_up, l) != 0) {
        mem_free(l);
        say(&here, "");
        return;
    }
    (void)pthread_detach(thread);
}
