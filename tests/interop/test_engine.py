"""The forest engine against PyTorch + PEFT on the real model, dequantised from the same GGUF.

One real tree (a scenario with four options), random non-zero LoRA. PyTorch runs every option as a
separate ordinary sequence in fp32. The engine runs the tree, and the separate sequences too.
"""

import json
import pathlib
import tempfile
import unittest

import support

SEED = 7
R, ALPHA, TARGETS = 8, 16, ["q", "k", "v", "o", "gate", "up", "down"]

# Written for this test; data/starter_train.json is used where it exists.
SCENARIO = {
    "scenario": "The choir you have led for nine years is asked to sing at a large festival in the "
    "spring. The pieces are new, two of your best voices are away until February, and the hall for "
    "the rehearsals would cost what the choir has saved. The festival wants an answer by Friday.",
    "options": [
        {"bias": "Risk-taking", "text": "You accept at once and spend the savings on the hall."},
        {"bias": "Risk-averse", "text": "You decline and sing the pieces you know in the summer."},
        {"bias": "Risk-taking", "text": "You accept, and look for two new voices this week."},
        {"bias": "Risk-averse", "text": "You offer to sing in a smaller concert next year."},
    ],
}
SENTENCES = {
    "Risk-taking": "Such a person takes uncertain odds for a large gain.",
    "Risk-averse": "Such a person prefers what is sure.",
}


def scenario_and_sentences():
    path = support.ROOT / "data/starter_train.json"
    if not path.exists():
        return SCENARIO, SENTENCES
    scenario = json.loads(path.read_text())[0]
    values = {option["bias"] for option in scenario["options"]}
    return scenario, {v: f"Such a person acts on '{v}' before all else." for v in values}


def separate(tree_json):
    """The same sequences as a forest of single-node trees: nothing is shared."""
    import tree_reference as ref

    tree = ref.Tree.of(tree_json)
    tokens = tree.row_tokens()
    nodes, leaves, labels, start = [], [], [], 0
    for leaf, end in enumerate(tree.leaves):
        path = tree.path_rows(end["node"])
        place = {row: start + i for i, row in enumerate(path)}
        nodes.append({"parent": -1, "tokens": [tokens[row] for row in path]})
        leaves.append({"node": leaf})
        labels += [{**la, "row": place[la["row"]]} for la in tree.labels if la["leaf"] == leaf]
        start += len(path)
    labels.sort(key=lambda label: (label["row"], label["leaf"]))
    return {"nodes": nodes, "leaves": leaves, "labels": labels}


def compare(ours, theirs):
    """(cosine, relative error, largest absolute difference) of two arrays, in double."""
    import numpy as np

    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    norms = np.linalg.norm(a), np.linalg.norm(b)
    cosine = a @ b / (norms[0] * norms[1]) if norms[0] * norms[1] > 0 else float("nan")
    return cosine, np.linalg.norm(a - b) / norms[1], np.abs(a - b).max()


class EngineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tool = support.program("engine_tool", "tests/interop/engine_tool.c")
        import gguf_reference
        import numpy as np
        import tree_reference as ref

        source = gguf_reference.Gguf(support.model())
        tokenizer = source.tokenizer()
        sequences = gguf_reference.scenario_sequences(tokenizer, *scenario_and_sentences())
        cls.tree = gguf_reference.trie(sequences)
        print(f"tree: {sum(len(n['tokens']) for n in cls.tree['nodes'])} rows, "
              f"{sum(len(s[0]) - 1 for s in sequences)} tokens as separate sequences")  # fmt: skip
        model = source.model()
        rng = np.random.default_rng(SEED)
        cls.lora = ref.random_lora(model.config, TARGETS, R, rng, 0.02)
        cls.source = source
        cls.theirs, cls.gradients = cls.pytorch(model)
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.ours = cls.engine("tree", cls.tree)

    @classmethod
    def pytorch(cls, model):
        import tree_reference as ref

        wrapped = ref.add_lora(model, TARGETS, R, ALPHA, cls.lora)
        found = ref.run_tree(wrapped, ref.Tree.of(cls.tree))
        return found, {n: p.grad.float().numpy() for n, p in ref.lora_parameters(wrapped)}

    @classmethod
    def engine(cls, name, tree_json, *more):
        from safetensors.numpy import load_file, save_file

        folder = pathlib.Path(cls.folder.name)
        (folder / f"{name}.json").write_text(json.dumps(tree_json))
        save_file(cls.lora, str(folder / "lora.safetensors"), {"format": "pt"})
        out = folder / f"{name}.out.safetensors"
        support.run(
            [
                cls.tool, "--model", support.model(), "--tree", folder / f"{name}.json",
                "--lora", folder / "lora.safetensors", "--out", out, "--r", str(R),
                "--alpha", str(ALPHA), "--targets", ",".join(TARGETS), *more,
            ]
        )  # fmt: skip
        return load_file(str(out))

    def test_logits_at_labels(self):
        self.assertEqual(self.ours["rows"].tolist(), self.theirs["rows"].tolist())
        _, _, gap = compare(self.ours["logits"], self.theirs["logits"])
        print(f"logits of {len(self.theirs['rows'])} rows: largest difference {gap:.2e}")
        self.assertTrue(gap <= 2e-3, gap)

    def test_loss(self):
        ours, theirs = float(self.ours["loss"][0]), self.theirs["loss"]
        print(f"loss: ours {ours:.7f}, PyTorch {theirs:.7f}")
        self.assertTrue(abs(ours - theirs) <= 1e-5 * abs(theirs), (ours, theirs))

    def test_every_lora_gradient(self):
        worst = (2.0, 0.0)
        bad = []
        for name, theirs in self.gradients.items():
            ours = self.ours[name + ".grad"]
            self.assertEqual(ours.shape, theirs.shape, name)
            cosine, error, _ = compare(ours, theirs)
            worst = min(worst[0], cosine), max(worst[1], error)
            if not (cosine >= 0.99999 and error <= 1e-3):
                bad.append(f"{name}: cosine {cosine:.7f}, relative error {error:.2e}")
        print(f"{len(self.gradients)} gradient tensors: worst cosine {worst[0]:.9f}, "
              f"worst relative error {worst[1]:.2e}")  # fmt: skip
        self.assertEqual(bad, [])
        given = {n for n in self.ours if n.endswith(".grad")}
        self.assertEqual(given, {n + ".grad" for n in self.gradients})

    def test_bf16_keeps_the_direction_no_worse_than_pytorch_bf16(self):
        import numpy as np
        import torch

        if "avx512_bf16" not in support.level.processor("flags").split():
            self.skipTest("this CPU has no AVX512_BF16")
        if support.level.LEVEL not in (None, "x86-64-v4"):
            self.skipTest(f"{support.level.LEVEL} has no bf16 products")
        made = self.engine("bf16", self.tree, "--bf16")
        _, theirs = self.pytorch(self.source.model(torch.bfloat16))
        sides = {"ours": {n: made[n + ".grad"] for n in self.gradients}, "PyTorch": theirs}
        whole = np.concatenate([g.ravel() for g in self.gradients.values()])
        cosines, worst = {}, {}
        for side, found in sides.items():
            flat = np.concatenate([found[n].ravel() for n in self.gradients])
            cosines[side] = compare(flat, whole)[0]
            worst[side] = min(compare(found[n], g)[0] for n, g in self.gradients.items())
        for side in sides:
            print(f"bf16, {side}, against PyTorch fp32: cosine of the whole gradient "
                  f"{cosines[side]:.6f}, of the worst tensor {worst[side]:.6f}")  # fmt: skip
        self.assertTrue(cosines["ours"] >= 0.999, cosines)
        self.assertTrue(worst["ours"] >= worst["PyTorch"], worst)

    def test_tree_equals_separate_passes(self):
        apart = self.engine("apart", separate(self.tree))
        losses = float(apart["loss"][0]), float(self.ours["loss"][0])
        self.assertTrue(abs(losses[0] - losses[1]) <= 1e-5 * abs(losses[0]), losses)
        worst = 0.0
        for name in self.gradients:
            _, error, _ = compare(self.ours[name + ".grad"], apart[name + ".grad"])
            worst = max(worst, error) if error == error else float("inf")
        print(f"tree against separate passes: worst relative error of a gradient {worst:.2e}")
        self.assertTrue(worst <= 1e-5, worst)


if __name__ == "__main__":
    support.main()
