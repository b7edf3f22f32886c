/* judge_http.c - one request at a time through libcurl. */
#include "cli/judge_http.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"

enum {
    RESPONSE_BYTES = 4 << 20,
    KEY_BYTES = 4096,
    CONNECT_MS = 10000,
    BACK_OFF_MOST_MS = 30000,
    RETRY_AFTER_MOST_S = 120,
    SAID_BYTES = 500,
};

struct judge_http {
    CURL *curl;
    struct curl_slist *headers;
    char *url;
    char authorization[KEY_BYTES + 32]; /* "" without a key */
    struct judge_http_config cfg;
    struct judge_http_counts counts;
    uint64_t last_ms; /* start of the last request; 0: none yet */
};

static bool is_https(const char *url)
{
    return strncmp(url, "https://", 8) == 0;
}

static bool is_this_machine(const char *host)
{
    static const char *const local[] = {"127.0.0.1", "localhost", "[::1]"};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        if (strcmp(host, local[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The address as libcurl will read it; http beyond this machine would show the key to everybody on
 * the way. */
static enum err check_address(const struct judge_http_config *cfg, struct errbuf *e)
{
    CURLU *url = curl_url();
    char *host = NULL;
    char *user = NULL;
    enum err error = OK;
    if (!url || curl_url_set(url, CURLUPART_URL, cfg->url, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        error = err_set(e, ERR_USAGE, "%.200s: no address that libcurl can read", cfg->url);
    } else if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK) {
        error = err_set(e, ERR_REFUSED,
                        "the address of the judge names a user (before '@' and %.100s): a key is "
                        "given in the environment",
                        host);
    } else if (cfg->key && cfg->key[0] && !is_https(cfg->url) && !is_this_machine(host)) {
        error = err_set(e, ERR_REFUSED,
                        "%.200s: the key would be sent without encryption; use https://", cfg->url);
    }
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(url);
    return error;
}

static enum err check(const struct judge_http_config *cfg, struct errbuf *e)
{
    if (strncmp(cfg->url, "http://", 7) != 0 && !is_https(cfg->url)) {
        return err_set(e, ERR_USAGE, "%.200s: an address with http:// or https:// is needed",
                       cfg->url);
    }
    if (cfg->key && strlen(cfg->key) >= KEY_BYTES) {
        return err_set(e, ERR_RANGE, "the key has %zu bytes, at most %d are possible",
                       strlen(cfg->key), KEY_BYTES - 1);
    }
    for (const char *c = cfg->key ? cfg->key : ""; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x21 || *c == 0x7F) {
            return err_set(e, ERR_REFUSED, "the key holds a space or a control character");
        }
    }
    return check_address(cfg, e);
}

enum err judge_http_open(const struct judge_http_config *cfg, struct judge_http **out,
                         struct errbuf *e)
{
    *out = NULL;
    enum err error = check(cfg, e);
    if (error != OK) {
        return error;
    }
    struct judge_http *h = mem_calloc(1, sizeof *h);
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        mem_free(h);
        return err_set(e, ERR_NOMEM, "libcurl cannot be started");
    }
    h->cfg = *cfg;
    h->cfg.key = NULL;
    h->url = mem_strdup(cfg->url);
    h->cfg.url = h->url;
    h->curl = curl_easy_init();
    h->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (cfg->key && cfg->key[0] != '\0') {
        (void)snprintf(h->authorization, sizeof h->authorization, "Authorization: Bearer %s",
                       cfg->key);
        struct curl_slist *more = curl_slist_append(h->headers, h->authorization);
        h->headers = more ? more : h->headers;
    }
    if (!h->url || !h->curl || !h->headers) {
        judge_http_close(&h);
        return err_set(e, ERR_NOMEM, "libcurl cannot be started");
    }
    *out = h;
    return OK;
}

void judge_http_close(struct judge_http **h)
{
    struct judge_http *old = *h;
    if (!old) {
        return;
    }
    for (struct curl_slist *s = old->headers; s; s = s->next) {
        sodium_memzero(s->data, strlen(s->data));
    }
    curl_slist_free_all(old->headers);
    curl_easy_cleanup(old->curl);
    curl_global_cleanup();
    sodium_memzero(old->authorization, sizeof old->authorization);
    mem_free(old->url);
    mem_free(old);
    *h = NULL;
}

static void pause_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
    while (nanosleep(&left, &left) != 0) {
    }
}

/* Keeps to the rate limit. */
static void wait_for_turn(struct judge_http *h)
{
    uint64_t every_ms = (uint64_t)(60000.0 / h->cfg.per_minute);
    uint64_t now = clock_now_ms();
    if (h->last_ms != 0 && now < h->last_ms + every_ms) {
        pause_ms(h->last_ms + every_ms - now);
    }
    h->last_ms = clock_now_ms();
}

static size_t take_bytes(char *data, size_t size, size_t n, void *context)
{
    struct str *out = context;
    str_append(out, data, size * n);
    return str_ok(out) == OK ? size * n : 0;
}

/* One attempt: *status is 0 when none came. */
static CURLcode attempt(struct judge_http *h, const char *body, struct str *answer, long *status,
                        long *retry_after_s)
{
    CURL *c = h->curl;
    curl_off_t after = 0;
    *status = 0;
    curl_easy_reset(c);
    (void)curl_easy_setopt(c, CURLOPT_URL, h->url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    if (!is_https(h->url)) { /* a proxy of the environment would read what stays on this machine */
        (void)curl_easy_setopt(c, CURLOPT_PROXY, "");
    }
    (void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
    (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)h->cfg.timeout_ms);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_bytes);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
    CURLcode code = curl_easy_perform(c);
    (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status);
    (void)curl_easy_getinfo(c, CURLINFO_RETRY_AFTER, &after);
    *retry_after_s = after > RETRY_AFTER_MOST_S ? RETRY_AFTER_MOST_S : (long)after;
    return code;
}

/* The words of {"error": {"message"}}, {"error"}, {"message"} or {"detail"}; NULL: there are none.
 */
static const char *error_words(const json_t *doc)
{
    const json_t *error = json_object_get(doc, "error");
    const json_t *const places[] = {json_object_get(error, "message"), error,
                                    json_object_get(doc, "message"),
                                    json_object_get(doc, "detail")};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (json_is_string(places[i])) {
            return json_string_value(places[i]);
        }
    }
    return NULL;
}

/* NULL: it is no JSON. */
static json_t *parsed(const struct str *answer)
{
    json_t *doc = NULL;
    return answer->len > 0 && json_doc_parse(answer->data, answer->len, &doc, NULL) == OK ? doc
                                                                                          : NULL;
}

/* ": " and what the other side said, in its own words, on one line. It may hold the key that it was
 * sent: then it is not shown. */
static const char *said(const struct judge_http *h, const struct str *answer, char out[SAID_BYTES])
{
    const char *key = strrchr(h->authorization, ' ');
    json_t *doc;
    out[0] = '\0';
    if (answer->len == 0 || (key && strstr(answer->data, key + 1))) {
        return out;
    }
    doc = parsed(answer);
    const char *words = error_words(doc);
    (void)snprintf(out, SAID_BYTES, ": %s", words ? words : answer->data);
    json_decref(doc);
    if (key && strstr(out, key + 1)) { /* it was written with escapes */
        out[0] = '\0';
    }
    for (char *c = out; *c != '\0'; c++) {
        *c = (unsigned char)*c < 0x20 || *c == 0x7F ? ' ' : *c;
    }
    return out;
}

/* Some servers say "busy" with status 200 and an error in place of the choices. */
static bool is_error(const struct str *answer)
{
    json_t *doc = parsed(answer);
    const json_t *error = json_object_get(doc, "error");
    const bool is = error && !json_is_null(error) && !json_object_get(doc, "choices");
    json_decref(doc);
    return is;
}

enum err judge_http_post(struct judge_http *h, const char *body, struct str *out, struct errbuf *e)
{
    struct str answer = {.limit = RESPONSE_BYTES};
    uint64_t back_off_ms = h->cfg.back_off_ms;
    CURLcode code = CURLE_OK;
    char words[SAID_BYTES];
    long status = 0;
    for (uint32_t i = 0; i < h->cfg.attempts; i++) {
        long after_s = 0;
        if (i > 0) {
            h->counts.retries++;
        }
        wait_for_turn(h);
        str_clear(&answer);
        h->counts.requests++;
        code = attempt(h, body, &answer, &status, &after_s);
        const bool failed = status != 200 || is_error(&answer);
        if (code == CURLE_OK && !failed) {
            str_append(out, answer.data ? answer.data : "", answer.len);
            str_free(&answer);
            return str_ok(out);
        }
        if (code == CURLE_WRITE_ERROR) {
            str_free(&answer);
            return err_set(e, ERR_REFUSED, "%.200s: an answer of more than %d bytes", h->url,
                           RESPONSE_BYTES);
        }
        bool again = code != CURLE_OK || status == 200 || status == 429 || status >= 500;
        if (!again) {
            (void)err_set(e, ERR_REFUSED, "%.200s answered with status %ld%s", h->url, status,
                          said(h, &answer, words));
            str_free(&answer);
            return ERR_REFUSED;
        }
        if (i + 1 < h->cfg.attempts) {
            pause_ms(after_s > 0 ? (uint64_t)after_s * 1000 : back_off_ms);
            back_off_ms = back_off_ms * 2 < BACK_OFF_MOST_MS ? back_off_ms * 2 : BACK_OFF_MOST_MS;
        }
    }
    (void)said(h, &answer, words);
    str_free(&answer);
    return code != CURLE_OK
               ? err_set(e, ERR_GONE, "%.200s: %u attempts failed, the last one with: %s", h->url,
                         h->cfg.attempts, curl_easy_strerror(code))
               : err_set(e, ERR_GONE, "%.200s: %u attempts failed, the last one with status %ld%s",
                         h->url, h->cfg.attempts, status, words);
}

struct judge_http_counts judge_http_counted(const struct judge_http *h)
{
    return h->counts;
}
