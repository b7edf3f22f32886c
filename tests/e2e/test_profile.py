"""pft profile on the committed tiny model: the real command, its parts and layers add up."""
import json
import os
import subprocess
import tempfile
import unittest

from fleet import BIN, ROOT
import starter


CONFIG = f"""
model: {{path: {ROOT}/tests/golden/tiny}}
data: {{train: {starter.TRAIN}, values: {ROOT}/configs/values/vcd.yaml}}
train: {{batch_groups: 8}}
precision: fp32
"""


class Profile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="pft-profile-")
        self.addCleanup(folder.cleanup)
        self.config = os.path.join(folder.name, "tiny.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(CONFIG)

    def profile(self, *words):
        return subprocess.run([os.path.join(BIN, "pft"), "profile", self.config, *words], text=True,
                              capture_output=True, check=False)

    def test_parts_and_layers_add_up_for_any_slots_and_threads(self):
        for shape in (("1", "1"), ("2", "2")):
            done = self.profile("--json", "--units", "2", "--slots", shape[0], "--threads", shape[1])
            self.assertEqual(done.returncode, 0, done.stderr)
            found = json.loads(done.stdout)
            self.assertEqual((found["slots"], found["threads"]), tuple(map(int, shape)))
            self.assertEqual(found["units"], 2)
            self.assertEqual(found["precision"], "fp32")
            self.assertGreater(found["tokens_per_s"], 0)
            for part in ("linear", "lora", "attention", "norm", "rope", "swiglu", "head", "pack",
                         "round", "wait"):
                self.assertIn(part, found["parts"])
            for part in ("linear", "lora", "attention"):
                self.assertGreater(found["parts"][part]["flop"], 0)
                self.assertGreater(found["parts"][part]["bytes"], 0)
                layers = sum(layer[part]["flop"] for layer in found["layers"])
                self.assertEqual(layers, found["parts"][part]["flop"])
            busy = sum(part["s"] for part in found["parts"].values())
            self.assertLessEqual(busy, int(shape[0]) * found["wall_s"] * 1.01 + 0.01)

    def test_the_table_names_every_part_and_every_layer(self):
        done = self.profile("--layers", "--repeat", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("attention", "GFLOP/s", "GB/s", "tokens/s", "peak memory", "ms of"):
            self.assertIn(word, done.stdout)

    def test_wrong_words_are_usage(self):
        done = self.profile("--slots", "0")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--slots", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=1)
