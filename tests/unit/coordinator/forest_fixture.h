/* forest_fixture.h - what the tests of render and forest share: a model's tokenizer, values, a
 * config and a data set from text. Sets up and tears down; checks nothing of its own. */
#ifndef PFT_FOREST_FIXTURE_H
#define PFT_FOREST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/str.h"
#include "common/format/model_file.h"
#include "common/text/tokenizer.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/forest.h"
#include "coordinator/values.h"

static const char fixture_values[] =
    "axes:\n- {name: Risk, poles: [{name: Bold, sentence: Likes odds.}, {name: Careful, sentence: "
    "Likes safety.}]}\n";

struct fixture {
    struct tokenizer *tok;
    struct values *values;
    struct run_config *cfg;
    struct dataset *data;
};

static inline void fixture_model(struct fixture *f, const char *path)
{
    struct model_file *mf = NULL;
    struct errbuf e = {0};
    int error = model_open(path, &mf, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    error = tokenizer_open(mf, &f->tok, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    model_close(&mf);
}

/* config may be ""; data NULL means none. */
static inline void fixture_new(struct fixture *f, const char *config, const char *data)
{
    struct errbuf e = {0};
    *f = (struct fixture){0};
    fixture_model(f, "tests/golden/tiny");
    assert_int_equal(values_parse(fixture_values, sizeof fixture_values - 1, "v", &f->values, &e),
                     OK);
    int error = config_parse(config, strlen(config), "c", "/", NULL, 0, &f->cfg, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    if (data) {
        error = dataset_parse(data, strlen(data), "d.json", f->values,
                              (enum config_group)f->cfg->data_group, &f->data, &e);
        assert_string_equal(e.text, "");
        assert_int_equal(error, OK);
    }
}

static inline void fixture_free(struct fixture *f)
{
    dataset_free(&f->data);
    config_free(&f->cfg);
    values_free(&f->values);
    tokenizer_close(&f->tok);
}

/* The text of token ids. */
static inline void fixture_decode(const struct fixture *f, const uint32_t *ids, size_t n,
                                  struct str *out)
{
    struct errbuf e = {0};
    str_clear(out);
    assert_int_equal(tokenizer_decode(f->tok, ids, n, out, &e), OK);
    str_add(out, "");
}

#endif
