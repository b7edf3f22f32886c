/* chat_command.c - pft chat: a conversation with an adapter or a bare model, the workers staying
 * for all of it. Owns: the history, a thread that reads stdin. Never: wording, tokens. */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/asking.h"
#include "cli/cli.h"
#include "common/base/mem.h"
#include "common/net/mailbox.h"

enum { LINES_MAX = 4096 };

struct typed {
    struct letter letter; /* first */
    char *text;           /* NULL: the end of stdin */
};

struct chat {
    struct asking asking;
    struct talk talk;
    struct mailbox *lines;
    pthread_t reader;
    bool waiting;     /* for an answer */
    bool over;        /* stdin is */
    json_t *settings; /* a request without prompt and history */
    json_t *history;
    char *asked;
    struct errbuf failure;
};

static void drop_typed(struct letter *letter)
{
    struct typed *t = (struct typed *)letter;
    mem_free(t->text);
    mem_free(t);
}

/* Ends with stdin, or with the program. */
static void *read_stdin(void *argument)
{
    struct mailbox *to = argument;
    char *line = NULL;
    size_t room = 0;
    for (bool more = true; more;) {
        ssize_t n = getline(&line, &room, stdin);
        struct typed *t = mem_calloc(1, sizeof *t);
        more = n >= 0 && t;
        if (more) {
            n -= n > 0 && line[n - 1] == '\n';
            t->text = mem_strndup(line, (size_t)n);
            more = t->text != NULL;
        }
        if (t) {
            t->letter.drop = drop_typed;
            if (mailbox_post(to, &t->letter) != OK) {
                drop_typed(&t->letter);
                more = false;
            }
        }
    }
    mem_free(line);
    return NULL;
}

static void prompt(const struct chat *c)
{
    if (isatty(STDIN_FILENO) && !c->over) {
        (void)fputs("> ", stdout);
        (void)fflush(stdout);
    }
}

static const char COMMANDS_TEXT[] =
    "/value NAME        answer as someone who holds this value\n"
    "/mix AXIS=LAMBDA   mix the two values of an axis (-2 to 3; 1 is the first value alone)\n"
    "/mix AXIS          LAMBDA as --inferred FILE has it\n"
    "/plain             no preference\n"
    "/forget            begin a new conversation\n"
    "/quit              the end, as the end of input is\n"
    "Anything else is said to the model.\n";

static void end(struct chat *c)
{
    c->over = true;
    talk_end(&c->talk);
}

static void command(struct chat *c, const char *line)
{
    const struct wish_source source = asking_source(&c->asking);
    struct errbuf e;
    enum err error = OK;
    if (strncmp(line, "/value ", 7) == 0) {
        error = wish_value(&source, c->settings, line + 7, &e);
    } else if (strncmp(line, "/mix ", 5) == 0) {
        error = wish_mix(&source, c->settings, line + 5, &e);
    } else if (strcmp(line, "/plain") == 0) {
        json_object_del(c->settings, "mix");
        json_object_del(c->settings, "value");
    } else if (strcmp(line, "/forget") == 0) {
        json_array_clear(c->history);
    } else if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) {
        end(c);
    } else {
        (void)fputs(COMMANDS_TEXT, stderr);
    }
    if (error != OK) {
        (void)fprintf(stderr, "pft chat: %s\n", e.text);
    }
}

/* Blanks at the end are nobody's words. */
static void trim(char *line)
{
    size_t n = strlen(line);
    while (n > 0 && strchr(" \t\r", line[n - 1])) {
        line[--n] = '\0';
    }
}

static void say(struct chat *c, char *line)
{
    json_t *text = json_string(line);
    if (!text) {
        (void)fprintf(stderr, "pft chat: that is no UTF-8\n");
        return;
    }
    json_t *request = json_copy(c->settings);
    json_object_set_new(request, "prompt", text);
    json_object_set_new(request, "history", json_deep_copy(c->history));
    json_t *list = json_array();
    json_array_append_new(list, request);
    mem_free(c->asked);
    c->asked = mem_strdup(line);
    c->waiting = true;
    asking_say(&c->asking, &c->talk, "generate", list);
}

/* Lines that were typed while an answer is under way wait for it. */
static void on_lines(void *context)
{
    struct chat *c = context;
    while (!c->waiting && !c->over) {
        struct typed *t = (struct typed *)mailbox_take(c->lines);
        if (!t) {
            break;
        }
        if (t->text) {
            trim(t->text);
        }
        if (!t->text) {
            end(c);
        } else if (t->text[0] == '/') {
            command(c, t->text);
        } else if (t->text[0] != '\0') {
            say(c, t->text);
        }
        drop_typed(&t->letter);
        if (!c->waiting) {
            prompt(c);
        }
    }
}

static void begin(struct talk *talk)
{
    struct chat *c = talk->context;
    if (mailbox_attach(c->lines, talk->loop, on_lines, c) != OK ||
        pthread_create(&c->reader, NULL, read_stdin, c->lines) != 0) {
        (void)err_set(&c->failure, ERR_NOMEM, "stdin cannot be read");
        talk_end(talk);
        return;
    }
    (void)pthread_detach(c->reader);
    prompt(c);
}

static void remember(struct chat *c, const char *role, const char *text)
{
    json_array_append_new(c->history, json_pack("{s:s,s:s}", "role", role, "content", text));
}

static void answered(struct talk *talk, const char *line)
{
    struct chat *c = talk->context;
    json_t *reply = json_loads(line, 0, NULL);
    json_t *answer = json_array_get(json_object_get(reply, "answers"), 0);
    const char *text = json_string_value(json_object_get(answer, "text"));
    const char *why = json_string_value(json_object_get(reply, "error"));
    c->waiting = false;
    if (text) {
        (void)printf("%s\n", text);
        (void)fflush(stdout);
        remember(c, "user", c->asked);
        remember(c, "assistant", text);
    } else {
        (void)fprintf(stderr, "pft chat: %s\n", why ? why : "the coordinator gave no answer");
    }
    json_decref(reply);
    prompt(c);
    on_lines(c);
}

static enum err converse(struct chat *c, int *code, struct errbuf *e)
{
    enum err error = asking_request(&c->asking, &c->settings, e);
    if (error == OK && mailbox_open(LINES_MAX, &c->lines) != OK) {
        error = err_set(e, ERR_NOMEM, "no memory for a conversation");
    }
    c->history = json_array();
    c->talk = (struct talk){.begin = begin, .answered = answered, .context = c};
    if (error == OK) {
        error = asking_run(&c->asking, &c->talk, true, code, e);
    }
    if (error == OK && c->failure.text[0] != '\0') {
        *e = c->failure;
        error = ERR_NOMEM;
    }
    return error;
}

int cli_chat(int argc, char **argv)
{
    static struct chat c; /* the thread that reads stdin may outlive this call */
    struct errbuf e = {0};
    int code = CLI_OK;
    struct args_option options[ASKING_ALL];
    asking_options(&c.asking, options);
    struct args a = {
        .usage = "pft chat RUN|--model FILE [--value NAME|--mix AXIS=LAMBDA] [options]",
        .what = "Talks with an adapter or a bare model: a line in, an answer out. /help "
                "lists what else can be typed.",
        .options = options,
        .n_options = ASKING_ALL};
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = asking_take(&c.asking, &a, &e);
    }
    c.asking.served.no_data = true; /* no data file is needed, so none is read */
    if (error == OK) {
        error = converse(&c, &code, &e);
    }
    if (c.lines) {
        mailbox_stop(c.lines);
    }
    json_decref(c.settings);
    json_decref(c.history);
    mem_free(c.asked);
    asking_free(&c.asking);
    return error == OK ? code : cli_explain("pft chat", error, &e);
}
