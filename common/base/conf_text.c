/* conf_text.c - the declared table as text: dump, help, sample file, docs; the nearest name. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <stdio.h>

#include "common/base/conf.h"
#include "common/base/conf_value.h"

enum { NEAREST_BYTES = 64 };

/* The fewest digits that read back as the same number. */
static void add_number(struct str *out, double value, bool single)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (single ? !((float)back < (float)value) && !((float)back > (float)value)
                   : !(back < value) && !(back > value)) {
            break;
        }
    }
    str_add(out, text);
}

static void add_mask(const struct conf_key *key, uint32_t mask, struct str *out)
{
    const char *comma = "";
    str_add(out, "[");
    for (size_t i = 0; key->choices[i]; i++) {
        if (mask & 1u << i) {
            str_addf(out, "%s%s", comma, key->choices[i]);
            comma = ", ";
        }
    }
    str_add(out, "]");
}

void conf_value(const struct conf_key *key, const void *block, struct str *out)
{
    const void *at = (const char *)block + key->offset;
    switch (key->type) {
    case CONF_BOOL:
        str_add(out, *(const bool *)at ? "true" : "false");
        break;
    case CONF_U32:
        str_addf(out, "%u", *(const uint32_t *)at);
        break;
    case CONF_U64:
        str_addf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case CONF_F32:
        add_number(out, (double)*(const float *)at, true);
        break;
    case CONF_F64:
        add_number(out, *(const double *)at, false);
        break;
    case CONF_CHOICE:
        str_add(out, key->choices[*(const uint32_t *)at]);
        break;
    case CONF_SET:
        add_mask(key, *(const uint32_t *)at, out);
        break;
    case CONF_TEXT:
    case CONF_PATH: {
        const char *text = *(char *const *)at;
        str_add_json(out, text, strlen(text));
        break;
    }
    }
}

/* Length of the section in front of the dot, 0 when there is none. */
static size_t section_of(const struct conf_key *key)
{
    const char *dot = strchr(key->name, '.');
    return dot ? (size_t)(dot - key->name) : 0;
}

static const struct conf_section *find_section(const struct conf_schema *schema,
                                               const struct conf_key *key)
{
    size_t n = section_of(key);
    for (size_t i = 0; n > 0 && i < schema->n_sections; i++) {
        if (strlen(schema->sections[i].name) == n &&
            memcmp(schema->sections[i].name, key->name, n) == 0) {
            return &schema->sections[i];
        }
    }
    return NULL;
}

/* True when key i is the first of its section (or the first without one behind a section). */
static bool begins_section(const struct conf_schema *schema, size_t i)
{
    size_t n = section_of(&schema->keys[i]);
    return i == 0 || section_of(&schema->keys[i - 1]) != n ||
           memcmp(schema->keys[i - 1].name, schema->keys[i].name, n) != 0;
}

void conf_dump(const struct conf_schema *schema, const void *block, struct str *out)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct conf_key *key = &schema->keys[i];
        size_t n = section_of(key);
        if (n > 0 && begins_section(schema, i)) {
            str_addf(out, "%.*s:\n", (int)n, key->name);
        }
        str_addf(out, "%s%s: ", n > 0 ? "  " : "", n > 0 ? key->name + n + 1 : key->name);
        conf_value(key, block, out);
        str_add(out, "\n");
    }
}

static const char *shown_default(const struct conf_key *key)
{
    return key->fallback[0] != '\0' ? key->fallback : "none";
}

void conf_help(const struct conf_schema *schema, struct str *out)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct conf_key *key = &schema->keys[i];
        str_addf(out, "  %-22s ", key->name);
        conf_expected(key, out);
        str_addf(out, " (default %s)\n  %-22s %s\n", shown_default(key), "", key->meaning);
    }
}

void conf_sample(const struct conf_schema *schema, struct str *out)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct conf_key *key = &schema->keys[i];
        size_t n = section_of(key);
        const char *indent = n > 0 ? "  " : "";
        bool text = key->type == CONF_TEXT || key->type == CONF_PATH;
        if (begins_section(schema, i)) {
            const struct conf_section *section = find_section(schema, key);
            str_add(out, i > 0 ? "\n" : "");
            if (section) {
                str_addf(out, "# %s\n%s:\n", section->meaning, section->name);
            }
        }
        str_addf(out, "%s# %s\n%s# ", indent, key->meaning, indent);
        conf_expected(key, out);
        str_addf(out, "\n%s%s: ", indent, n > 0 ? key->name + n + 1 : key->name);
        if (text) {
            str_add_json(out, key->fallback, strlen(key->fallback));
        } else if (key->type == CONF_SET && strcmp(key->fallback, "all") != 0) {
            str_addf(out, "[%s]", key->fallback);
        } else {
            str_add(out, key->fallback);
        }
        str_add(out, "\n");
    }
}

void conf_docs(const struct conf_schema *schema, struct str *out)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct conf_key *key = &schema->keys[i];
        if (begins_section(schema, i)) {
            const struct conf_section *section = find_section(schema, key);
            str_add(out, i > 0 ? "\n" : "");
            if (section) {
                str_addf(out, "## %s\n\n%s\n\n", section->name, section->meaning);
            } else {
                str_add(out, "## keys without a section\n\n");
            }
            str_add(out, "| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        }
        str_addf(out, "| `%s` | ", key->name);
        conf_expected(key, out);
        str_addf(out, " | `%s` | %s%s%s |\n", shown_default(key), key->meaning,
                 key->hint ? " Note: " : "", key->hint ? key->hint : "");
    }
}

/* Levenshtein's distance in half steps: a letter in the other case costs one, all else two. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NEAREST_BYTES + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = 2 * j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] += 2;
        for (size_t j = 0; j < n; j++) {
            size_t swap = a[i] == b[j]                                                   ? 0
                          : tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]) ? 1
                                                                                         : 2;
            size_t best = diagonal + swap;
            best = row[j] + 2 < best ? row[j] + 2 : best;
            best = row[j + 1] + 2 < best ? row[j + 1] + 2 : best;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[n];
}

static const char *behind_dot(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

const char *conf_nearest(const char *text, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t length = strlen(text);
    size_t limit = length > NEAREST_BYTES ? 0 : 2 * (length * 2 / 5 + 1) + 1;
    for (size_t i = 0; i < n && limit > 0; i++) {
        if (!names[i] || strlen(names[i]) > NEAREST_BYTES) {
            continue;
        }
        size_t whole = distance(text, names[i]);
        bool dotted = strchr(names[i], '.') || strchr(text, '.');
        size_t tail = dotted && behind_dot(text)[0] != '\0'
                          ? distance(behind_dot(text), behind_dot(names[i])) * 2 + 1
                          : whole;
        size_t d = tail < whole ? tail : whole;
        if (d < limit) {
            limit = d;
            best = names[i];
        }
    }
    return best;
}
