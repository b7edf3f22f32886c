/* serving.c - phases and server of one run. */
#include "coordinator/serving.h"

enum err serving_open(struct start *start, const char *run, bool eval_only,
                      const struct address_file *address, const struct serving_keys *keys,
                      struct serving *s, struct errbuf *e)
{
    const struct server_doors doors = {.bind = address->jobs,
                                       .status = address->status,
                                       .key = keys ? keys->key : NULL,
                                       .keys_folder = keys ? keys->folder : NULL};
    *s = (struct serving){0};
    enum err error = phases_open(start, run, eval_only, &s->phases, e);
    if (error == OK) {
        run_settings_fill(&s->settings, start);
        const struct server_events events = phases_events(s->phases);
        error = server_open(&doors, &s->settings.server, &events, &s->server, e);
    }
    return error == OK ? phases_attach(s->phases, s->server, e) : error;
}

void serving_close(struct serving *s, struct phases_outcome *outcome)
{
    phases_close(&s->phases, outcome);
    server_close(&s->server);
}
