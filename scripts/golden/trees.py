"""Golden trees: loss, logits, activations and LoRA gradients of weighted token forests."""

from __future__ import annotations

import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

import tiny_model
import tree_reference as ref

ALL = list(ref.MODULES)


def forest(rng, shape):
    """Random tokens in nodes of the given (parent, length); siblings start with other tokens."""
    nodes = []
    for parent, length in shape:
        tokens = rng.integers(3, tiny_model.VOCAB, length).tolist()
        taken = {n["tokens"][0] for n in nodes if n["parent"] == parent}
        while parent >= 0 and tokens[0] in taken:
            tokens[0] = int(rng.integers(3, tiny_model.VOCAB))
        nodes.append({"parent": parent, "tokens": tokens})
    return nodes


def answer_labels(rng, nodes, label_from, inner_leaves=()):
    """Leaves and labels: every terminal node (and inner_leaves) ends a sequence, whose tokens from
    path position `label_from[root]` on are labelled; the last target is no row of that path (as
    the end-of-turn token of an answer).

    One weight per leaf divided by its number of labels and the number of leaves, so rows above a
    fork carry one label per leaf below them: the same target with other weights inside a node,
    other targets at its end.
    """
    parents = {node["parent"] for node in nodes}
    ends = [i for i in range(len(nodes)) if i not in parents or i in inner_leaves]
    tree = ref.Tree(nodes, [], [{"node": i} for i in ends])
    tokens = tree.row_tokens()
    labels = []
    for leaf, end in enumerate(ends):
        path = tree.path_rows(end)
        root = end
        while nodes[root]["parent"] >= 0:
            root = nodes[root]["parent"]
        first = label_from[root]
        count = (len(path) - first + 1) * len(ends)
        weight = float(np.float32(rng.uniform(0.2, 1.8) / count))
        for depth in range(first - 1, len(path)):
            target = tokens[path[depth + 1]] if depth + 1 < len(path) else 2
            labels.append(
                {"row": path[depth], "target": target, "weight": weight, "leaf": leaf}
            )
    labels.sort(key=lambda label: (label["row"], label["leaf"]))
    return {"nodes": nodes, "leaves": tree.leaves, "labels": labels}


# Root, two mid nodes of 5 and 1 tokens, leaves of 1 to 6 tokens. Labels from position 9 on: the
# root's last row carries the first label of both mid nodes, and the rows of a mid node serve all
# leaves below it. "late-labels" starts at 11: inside one mid node, behind the other.
THREE_LEVELS = [(-1, 9), (0, 5), (0, 1), (1, 4), (1, 1), (1, 3), (2, 2), (2, 6)]
# A unit of several trees: one where a sequence ends where another goes on (node 1), a single
# sequence, and one root whose leaves are one token each.
UNIT = [(-1, 6), (0, 3), (0, 2), (1, 2), (-1, 7), (-1, 2), (5, 1), (5, 1), (5, 1)]


def write_case(root, name, model_folder, forest_json, targets, b_scale, seed, record=False):
    rng = np.random.default_rng(seed)
    model = tiny_model.load_model(root / model_folder)
    r, alpha = 4, 8
    lora = ref.random_lora(model.config, targets, r, rng, b_scale)
    wrapped = ref.add_lora(model, targets, r, alpha, lora)
    tree = ref.Tree.of(forest_json)
    result = ref.run_tree(wrapped, tree, record=record)
    if not result["spread"] < 5e-6:
        raise ValueError(f"{name}: shared rows differ by {result['spread']} between leaves")
    out = {
        "rows": result["rows"],
        "logits": result["logits"],
        "loss": np.array([result["loss"]], dtype=np.float32),
    }
    for parameter_name, parameter in ref.lora_parameters(wrapped):
        out[parameter_name + ".grad"] = parameter.grad.numpy()
    out |= result["activations"] | result["d_activations"]
    folder = root / "trees"
    folder.mkdir(exist_ok=True)
    save_file(out, str(folder / f"{name}.safetensors"), {"loss": repr(result["loss"])})
    save_file(lora, str(folder / f"{name}.lora.safetensors"), {"format": "pt"})
    description = {
        "model": model_folder,
        "lora": {"r": r, "alpha": alpha, "targets": targets},
        "loss": result["loss"],
        "rows": tree.row_count,
        **forest_json,
    }
    write_json(folder / f"{name}.json", description)
    print(f"{name}: {tree.row_count} rows, {len(tree.labels)} labels, loss {result['loss']:.6f}, "
          f"shared rows agree within {result['spread']:.1e}")  # fmt: skip


def write_json(path: pathlib.Path, mapping):
    """One line per top-level value and per list element: small, and a diff can be read."""
    lines = []
    for key, value in mapping.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            body = ",\n  ".join(json.dumps(v) for v in value)
            lines.append(f' "{key}": [\n  {body}\n ]')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write_all(root):
    rng = np.random.default_rng(11)
    nodes = forest(rng, THREE_LEVELS)
    tree = answer_labels(rng, nodes, {0: 9})
    write_case(root, "all-modules", "tiny", tree, ALL, 0.3, 21, record=True)
    write_case(root, "b-zero", "tiny", tree, ALL, 0.0, 22)
    write_case(root, "q-v-only", "tiny", tree, ["q", "v"], 0.3, 23)
    late = answer_labels(rng, nodes, {0: 11})
    write_case(root, "late-labels", "tiny", late, ALL, 0.3, 24)
    unit = answer_labels(rng, forest(rng, UNIT), {0: 6, 4: 4, 5: 2}, inner_leaves=(1,))
    write_case(root, "unit-of-trees", "tiny-untied", unit, ALL, 0.3, 25)
