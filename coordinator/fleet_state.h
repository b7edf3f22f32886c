/* fleet_state.h - what fleet.c (one task after another) and fleet_commands.c (what is asked over
 * the status socket) share. Private to them. */
#ifndef PFT_FLEET_STATE_H
#define PFT_FLEET_STATE_H

#include "coordinator/address_file.h"
#include "coordinator/clerk.h"
#include "coordinator/fleet.h"
#include "coordinator/opener.h"
#include "coordinator/phases.h"
#include "coordinator/run_settings.h"
#include "coordinator/server.h"
#include "coordinator/task_list.h"

enum fleet_state { FLEET_IDLE, FLEET_BEGINNING, FLEET_OPENING, FLEET_RUNNING, FLEET_ENDING };

struct fleet {
    const char *dir;
    struct address_file address;
    struct task_list list;
    struct clerk *clerk;
    struct mailbox *saved, *opened;
    uint32_t saves; /* handed to the clerk and not reported yet */
    bool unsaved;   /* a save failed: the disk is full; tried again with the next tick */
    char trouble[WIRE_TEXT_BYTES];
    struct server *server;
    enum fleet_state state;
    uint64_t task; /* of every state but IDLE */
    struct opener opener;
    struct opened *run; /* RUNNING */
    struct phases *phases;
    struct server_events events; /* of phases */
    struct run_settings settings;
    bool stopping, ended;
    enum err failed; /* the disk; the program ends */
    struct errbuf why;
};

/* Hands the list to the clerk; order may be NULL. False: it could not be handed over. */
bool fleet_save(struct fleet *f, struct task_order *order, const struct clerk_tag *tag);
/* The open task was cancelled in the list: it stops. */
void fleet_stop_task(struct fleet *f);
/* What can be done now is done. */
void fleet_go_on(struct fleet *f);

/* Callbacks of the server's owner, and the answer to a command that the clerk was needed for. */
bool fleet_command(void *ctx, const struct socket_route *route, struct status_request *request,
                   struct status *status);
void fleet_status(void *ctx, struct status *status);
void fleet_answer(struct fleet *f, struct clerk_report *report);

#endif
