/* data_forest.c - pft data forest: a file's groups as the trees a run would train on, in JSON.
 * [{group, line, part, rows, nodes: [{parent, tokens}], labels: [{row, target, weight, leaf}],
 *   leaves: [{node, side, option, labels}], pairs: [{a: tokens, b: tokens}]}]: parent -1 is a root,
 * weights are those of w_a = w_b = 1, the pairs are whole sequences and stand in part 0. */
#include "cli/data.h"

#include "cli/args.h"
#include "common/base/limits.h"
#include "coordinator/forest.h"
#include "coordinator/render.h"

static void add_tokens(struct str *out, const uint32_t *tokens, uint32_t n)
{
    str_add(out, "[");
    for (uint32_t i = 0; i < n; i++) {
        str_addf(out, "%s%u", i > 0 ? "," : "", tokens[i]);
    }
    str_add(out, "]");
}

static void add_tree(struct str *out, const struct forest_tree *part)
{
    const struct tree *t = &part->tree;
    str_add(out, "\"nodes\":[");
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        const struct tree_node *node = &t->nodes[i];
        str_addf(out, "%s{\"parent\":%lld,\"tokens\":", i > 0 ? "," : "",
                 node->parent == TREE_ROOT ? -1LL : (long long)node->parent);
        add_tokens(out, t->tokens + node->first, node->count);
        str_add(out, "}");
    }
    str_add(out, "],\"labels\":[");
    for (uint32_t i = 0; i < t->n_labels; i++) {
        const struct tree_label *label = &t->labels[i];
        str_addf(out, "%s{\"row\":%u,\"target\":%u,\"weight\":%.9g,\"leaf\":%u}", i > 0 ? "," : "",
                 label->row, label->target, (double)label->weight, label->leaf);
    }
    str_add(out, "],\"leaves\":[");
    for (uint32_t i = 0; i < t->n_leaves; i++) {
        const struct forest_leaf *leaf = &part->leaves[i];
        str_addf(out, "%s{\"node\":%u,\"side\":%u,\"option\":%u,\"labels\":%u}", i > 0 ? "," : "",
                 leaf->node, leaf->side, leaf->option, leaf->labels);
    }
    str_add(out, "]");
}

/* The whole sequence of a leaf: its path and the target of its last label. */
static void add_sequence(struct str *out, const struct forest_trees *trees, uint32_t side,
                         uint32_t option)
{
    for (uint32_t p = 0; p < trees->n; p++) {
        const struct forest_tree *part = &trees->items[p];
        const struct tree *t = &part->tree;
        for (uint32_t leaf = 0; leaf < t->n_leaves; leaf++) {
            if (part->leaves[leaf].side != side || part->leaves[leaf].option != option) {
                continue;
            }
            uint32_t path[LIMIT_TREE_NODES];
            uint32_t depth = 0;
            for (uint32_t n = part->leaves[leaf].node; n != TREE_ROOT; n = t->nodes[n].parent) {
                path[depth++] = n;
            }
            uint32_t last = 0;
            for (uint32_t l = 0; l < t->n_labels; l++) {
                last = t->labels[l].leaf == leaf ? t->labels[l].target : last;
            }
            str_add(out, "[");
            while (depth-- > 0) {
                const struct tree_node *node = &t->nodes[path[depth]];
                for (uint32_t i = 0; i < node->count; i++) {
                    str_addf(out, "%u,", t->tokens[node->first + i]);
                }
            }
            str_addf(out, "%u]", last);
            return;
        }
    }
    str_add(out, "null"); /* paper layout: the answer was cut away */
}

static void add_group(struct str *out, const struct dataset *data, uint32_t index,
                      const struct forest_group *g, const struct forest_trees *trees)
{
    const struct data_group *group = &data->groups[g->data_group];
    for (uint32_t p = 0; p < trees->n; p++) {
        str_addf(out, "%s\n{\"group\":%u,\"line\":%u,\"part\":%u,\"rows\":%u,",
                 index + p > 0 ? "," : "", index, data->scenarios[group->scenario].line, p,
                 trees->items[p].tree.n_rows);
        add_tree(out, &trees->items[p]);
        str_add(out, ",\"pairs\":[");
        for (uint32_t i = 0; i < group->n_pairs && p == 0; i++) {
            const struct data_pair *pair = &data->pairs[group->first_pair + i];
            str_add(out, i > 0 ? ",{\"a\":" : "{\"a\":");
            add_sequence(out, trees, 0, pair->a);
            str_add(out, ",\"b\":");
            add_sequence(out, trees, 1, pair->b);
            str_add(out, "}");
        }
        str_add(out, "]}");
    }
}

/* A copy of the data set's head whose groups end after `limit`: the rest is not tokenised. */
static struct dataset limited(const struct dataset *data, long limit)
{
    struct dataset head = *data;
    if (limit > 0 && (uint64_t)limit < head.n_groups) {
        head.n_groups = (uint32_t)limit;
    }
    return head;
}

enum err data_forest(const struct data_command *c, struct str *out, struct errbuf *e)
{
    struct dataset *data = NULL;
    struct forest *forest = NULL;
    uint32_t n = 0;
    long limit = 0;
    if (!c->tok) {
        return err_set(e, ERR_USAGE, "forest needs --model FILE (\"\" for the default model)");
    }
    enum err error = c->limit ? args_number("--limit", c->limit, 1, 1 << 22, &limit, e) : OK;
    if (error == OK) {
        error = dataset_load(c->file, c->values, (enum config_group)c->cfg->data_group, &data, e);
    }
    if (error != OK) {
        return error;
    }
    struct dataset head = limited(data, limit);
    error = forest_new(c->cfg, c->values, &head, c->tok, &forest, e);
    const struct forest_group *groups = error == OK ? forest_groups(forest, &n) : NULL;
    str_add(out, "[");
    for (uint32_t i = 0; i < n && error == OK; i++) {
        struct forest_trees trees;
        error = forest_build(forest, i, 1, 1, NULL, &trees, e);
        if (error == OK) {
            add_group(out, &head, i, &groups[i], &trees);
            forest_trees_free(&trees);
        }
    }
    str_add(out, "\n]\n");
    forest_free(&forest);
    dataset_free(&data);
    return error;
}
