/* talk.c - two pipes and the lines in them. */
#include "cli/talk.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

enum { CHUNK_BYTES = 1 << 16 };

struct saying {
    uv_write_t request;
    char text[];
};

void talk_open(struct talk *t, uv_loop_t *loop, struct child *coordinator)
{
    t->loop = loop;
    CHECK(uv_pipe_init(loop, &t->in, 0) == 0 && uv_pipe_init(loop, &t->out, 0) == 0);
    t->in.data = t->out.data = t;
    coordinator->in = &t->in;
    coordinator->out = &t->out;
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    (void)handle;
    (void)wanted;
    char *room = mem_calloc(1, CHUNK_BYTES);
    *out = uv_buf_init(room, room ? CHUNK_BYTES : 0);
}

static void hand_on_lines(struct talk *t)
{
    size_t from = 0;
    for (char *end; t->kept.len > from &&
                    (end = memchr(t->kept.data + from, '\n', t->kept.len - from)) != NULL;) {
        *end = '\0';
        t->answered(t, t->kept.data + from);
        from = (size_t)(end - t->kept.data) + 1;
    }
    struct str rest = {0};
    str_append(&rest, t->kept.len > from ? t->kept.data + from : "", t->kept.len - from);
    str_free(&t->kept);
    t->kept = rest;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room)
{
    struct talk *t = stream->data;
    if (n > 0) {
        str_append(&t->kept, room->base, (size_t)n);
        hand_on_lines(t);
    } else if (n < 0) {
        (void)uv_read_stop(stream);
        uv_close((uv_handle_t *)stream, NULL);
        talk_end(t);
    }
    mem_free(room->base);
}

void talk_begin(struct talk *t)
{
    t->open = true;
    CHECK(uv_read_start((uv_stream_t *)&t->out, give_room, on_read) == 0);
    t->begin(t);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status; /* a coordinator that is gone is noticed by its end */
    mem_free(request->data);
}

void talk_say(struct talk *t, const char *line, size_t bytes)
{
    struct saying *s = t->open ? mem_calloc(1, sizeof *s + bytes + 1) : NULL;
    if (!s) {
        return;
    }
    memcpy(s->text, line, bytes);
    s->text[bytes] = '\n';
    s->request.data = s;
    const uv_buf_t all = uv_buf_init(s->text, (unsigned)bytes + 1);
    if (uv_write(&s->request, (uv_stream_t *)&t->in, &all, 1, on_written) != 0) {
        mem_free(s);
    }
}

static void on_shut(uv_shutdown_t *request, int status)
{
    (void)status;
    if (!uv_is_closing((uv_handle_t *)request->handle)) {
        uv_close((uv_handle_t *)request->handle, NULL);
    }
    mem_free(request);
}

/* What was said before still goes out. */
void talk_end(struct talk *t)
{
    if (!t->open) {
        return;
    }
    t->open = false;
    uv_shutdown_t *request = mem_calloc(1, sizeof *request);
    if (!request || uv_shutdown(request, (uv_stream_t *)&t->in, on_shut) != 0) {
        mem_free(request);
        uv_close((uv_handle_t *)&t->in, NULL);
    }
}

void talk_free(struct talk *t)
{
    str_free(&t->kept);
}
