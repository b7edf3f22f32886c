"""The groups of `make bench`, as `pft data forest DATA --json` prints them, for the PyTorch side.

A group is {nodes: [{parent, tokens}], leaves: [{node, side, option}], labels: [{row, target,
weight, leaf}], pairs: [{a, b}]}; pairs hold the whole sequences of a pair, the end-of-turn token
included. Sequences are taken from the tree and checked against the pairs, token for token.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import torch
import tree_reference as ref


class Sequence:
    """One leaf as an ordinary sequence: input tokens, labelled positions, targets, weights."""

    def __init__(self, tree, leaf):
        path = tree.path_rows(tree.leaves[leaf]["node"])
        tokens = tree.row_tokens()
        place = {row: i for i, row in enumerate(path)}
        labels = [label for label in tree.labels if label["leaf"] == leaf]
        self.side = tree.leaves[leaf]["side"]
        self.tokens = [tokens[row] for row in path]
        self.positions = [place[label["row"]] for label in labels]
        self.targets = [label["target"] for label in labels]
        self.weights = [label["weight"] for label in labels]

    def whole(self):
        """With the last target, which is never an input."""
        return (*self.tokens, self.targets[-1])


class Group:
    def __init__(self, mapping):
        self.tree = ref.Tree.of(mapping)
        self.sequences = [Sequence(self.tree, leaf) for leaf in range(len(self.tree.leaves))]
        first, second = ([s for s in self.sequences if s.side == side] for side in (0, 1))
        self.pairs = [(a, b) for a in first for b in second]
        made = sorted((a.whole(), b.whole()) for a, b in self.pairs)
        if made != sorted((tuple(pair["a"]), tuple(pair["b"])) for pair in mapping["pairs"]):
            raise SystemExit(f"bench: group {mapping['group']}: its tree and its pairs differ")


def read_groups(path):
    return [Group(mapping) for mapping in json.loads(pathlib.Path(path).read_text())]


def tree_mask(tree, dtype):
    """Additive [1, 1, rows, rows] mask and positions [1, rows] of a tree."""
    allowed = torch.zeros(tree.row_count, tree.row_count, dtype=torch.bool)
    positions = torch.zeros(tree.row_count, dtype=torch.long)
    for node, first in enumerate(tree.first_row):
        path = torch.tensor(tree.path_rows(node))
        size = len(tree.nodes[node]["tokens"])
        for i in range(size):
            upto = len(path) - size + i + 1
            allowed[first + i, path[:upto]] = True
            positions[first + i] = upto - 1
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    return mask[None, None], positions[None]
