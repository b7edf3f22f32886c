/* client_prepare.c - from the run's settings in the welcome to an engine of the slots. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/format/model_file.h"
#include "worker/client_state.h"

/* Another kernel level: the library must be loaded again, so the program starts itself again. */
static void restart_with(struct client *c, enum kernels_level level)
{
    char *argv[64];
    int n = 0;
    for (char **p = c->cfg.argv; *p && n < 60; p++) {
        if (strcmp(*p, "--kernels") == 0 && p[1]) {
            p++;
            continue;
        }
        argv[n++] = *p;
    }
    argv[n++] = (char *)(uintptr_t) "--kernels";
    argv[n++] = (char *)(uintptr_t)kernels_level_name(level);
    argv[n] = NULL;
    struct errbuf e;
    log_event(LOG_INFO, "restarting", "kernels=%s", kernels_level_name(level));
    client_send_note(c, WIRE_GOODBYE, agent_session(c->agent),
                     "starting again with the run's kernels");
    socket_close(&c->control);
    socket_close(&c->tensor);
    socket_context_close(&c->context);
    enum err error = kernels_level_prepare(level, argv, &e);
    log_event(LOG_ERROR, "restart_failed", "%s", error == OK ? "it had no effect" : e.text);
    client_end(c, AGENT_EXIT_ERROR);
}

static bool precision_from(const char *name, enum engine_precision *precision)
{
    *precision = strcmp(name, "bf16") == 0 ? ENGINE_BF16 : ENGINE_FP32;
    return *precision == ENGINE_BF16 || strcmp(name, "fp32") == 0;
}

void client_prepare(struct client *c, uint64_t now)
{
    FAILPOINT("worker.welcomed");
    const struct wire_welcome *w = agent_settings(c->agent);
    enum kernels_level level;
    enum engine_precision precision;
    struct errbuf e;
    char text[WIRE_TEXT_BYTES];
    if (w->protocol != WIRE_PROTOCOL || !precision_from(w->precision, &precision) ||
        !kernels_level_from(w->kernels, &level)) {
        (void)snprintf(text, sizeof text,
                       "the run wants protocol %u, precision %s, kernels %s; this program has "
                       "protocol %d, precision fp32 or bf16, kernels portable to x86-64-v4",
                       w->protocol, w->precision, w->kernels, WIRE_PROTOCOL);
        agent_prepared(c->agent, ERR_UNSUPPORTED, text, now);
        return;
    }
    if (!kernels_level_runs_here(level)) {
        (void)snprintf(text, sizeof text,
                       "this CPU cannot run kernels %s; 'kernels: %s' in the run's config would "
                       "admit it",
                       w->kernels, kernels_level_name(kernels_level_native()));
        agent_prepared(c->agent, ERR_UNSUPPORTED, text, now);
        return;
    }
    if (kernels_level_verify(level, &e) != OK) {
        restart_with(c, level);
        return;
    }
    client_open_tensor(c);
    const struct engine_config config = {.shape = *model_shape(c->cfg.model),
                                         .lora = {.r = w->lora_r,
                                                  .alpha = w->lora_alpha,
                                                  .dropout = w->lora_dropout,
                                                  .targets = w->lora_targets},
                                         .kernels = level,
                                         .tile_rows = w->tile_rows,
                                         .tile_cols = w->tile_cols,
                                         .seed = w->seed,
                                         .precision = precision,
                                         .threads = c->cfg.threads,
                                         .checkpointing = c->cfg.checkpointing};
    const struct engine_rows rows = {.train = w->unit_rows > 0 ? w->unit_rows : w->unit_tokens,
                                     .anchor = w->anchor_rows,
                                     .score = w->tree_tokens_max};
    enum err error = slots_prepare(c->slots, &config, &rows, &c->engine);
    if (error != OK) {
        agent_prepared(c->agent, error, "the loading thread takes no more work", now);
    }
}
