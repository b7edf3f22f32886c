/* serving.c - what a run's start says, told to the server. */
#include "coordinator/serving.h"

#include <stdio.h>
#include <string.h>

#include "common/wire/shape_digest.h"

static void fill_server(const struct start *start, const struct model_description *d,
                        const char *shape, const char *run, const struct address_file *address,
                        const struct serving_keys *keys, struct server_config *c)
{
    const struct setup *s = &start->setup;
    *c = (struct server_config){.run = run,
                                .key = keys ? keys->key : NULL,
                                .keys_folder = keys ? keys->folder : NULL,
                                .bind = address->jobs,
                                .status = address->status,
                                .kernels_bit = s->kernels_bit,
                                .model_hash = s->model_hash,
                                .model_name = d->name,
                                .model_path = s->model_path,
                                .shape_digest = shape,
                                .floats = setup_floats(s),
                                .start = start->starts,
                                .has_probe = start->has_probe,
                                .welcome = {.protocol = WIRE_PROTOCOL,
                                            .lora_r = s->cfg->lora.r,
                                            .lora_alpha = s->cfg->lora.alpha,
                                            .lora_dropout = s->cfg->lora.dropout,
                                            .lora_targets = s->cfg->lora.targets,
                                            .seed = s->cfg->train_seed,
                                            .strict = s->cfg->strict,
                                            .heartbeat_ms = SERVER_HEARTBEAT_MS,
                                            .silence_ms = SERVER_SILENCE_MS,
                                            .unit_tokens = s->cfg->unit_tokens,
                                            .unit_rows = s->unit_rows,
                                            .tree_tokens_max = s->cfg->tree_tokens_max,
                                            .tile_rows = s->cfg->tile_rows,
                                            .tile_cols = s->cfg->tile_cols}};
    memcpy(c->probe, start->probe, sizeof c->probe);
    (void)snprintf(c->welcome.run, sizeof c->welcome.run, "%s", start->run_id);
    (void)snprintf(c->welcome.kernels, sizeof c->welcome.kernels, "%s", s->kernels);
    (void)snprintf(c->welcome.precision, sizeof c->welcome.precision, "%s", s->precision);
}

enum err serving_open(struct start *start, const char *run, bool eval_only,
                      const struct address_file *address, const struct serving_keys *keys,
                      struct serving *s, struct errbuf *e)
{
    struct server_config config;
    *s = (struct serving){.model = model_describe(start->setup.model)};
    shape_digest(model_shape(start->setup.model), s->shape);
    enum err error = phases_open(start, run, eval_only, &s->phases, e);
    if (error == OK) {
        fill_server(start, &s->model, s->shape, run, address, keys, &config);
        const struct server_events events = phases_events(s->phases);
        error = server_open(&config, &events, &s->server, e);
    }
    return error == OK ? phases_attach(s->phases, s->server, e) : error;
}

void serving_close(struct serving *s, struct phases_outcome *outcome)
{
    phases_close(&s->phases, outcome);
    server_close(&s->server);
}
