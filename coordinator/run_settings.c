/* run_settings.c - the welcome of a run. */
#include "coordinator/run_settings.h"

#include <stdio.h>
#include <string.h>

#include "common/wire/shape_digest.h"

void run_settings_fill(struct run_settings *r, const struct start *start)
{
    const struct setup *s = &start->setup;
    struct server_config *c = &r->server;
    r->model = model_describe(s->model);
    shape_digest(model_shape(s->model), r->shape);
    *c = (struct server_config){
        .kernels_bit = s->kernels_bit,
        .model_hash = s->model_hash,
        .model_name = r->model.name,
        .model_path = s->model_path,
        .shape_digest = r->shape,
        .floats = setup_floats(s),
        .start = start->starts,
        .has_probe = start->has_probe,
        .audit_rate = s->cfg->audit_rate,
        .audit_book = start->audits.data,
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
                    .anchor_rows = s->anchor ? anchor_unit_rows(s->anchor) : 0,
                    .tree_tokens_max = s->cfg->tree_tokens_max,
                    .tile_rows = s->cfg->tile_rows,
                    .tile_cols = s->cfg->tile_cols}};
    memcpy(c->probe, start->probe, sizeof c->probe);
    (void)snprintf(c->welcome.run, sizeof c->welcome.run, "%s", start->run_id);
    (void)snprintf(c->welcome.kernels, sizeof c->welcome.kernels, "%s", s->kernels);
    (void)snprintf(c->welcome.precision, sizeof c->welcome.precision, "%s", s->precision);
}
