"""The committed fixtures of tests/golden are what scripts/golden writes, to fp32 rounding."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

import support

COMMITTED = support.ROOT / "tests/golden"
KINDS = {".gguf", ".json", ".jsonl", ".safetensors", ".yaml"}
# What PyTorch computed: its sums differ in the last bits from processor to processor. The rest is drawn or
# written, and the same bytes everywhere.
COMPUTED = ("trees/", "training/", "objectives/", "generation/")
ELSEWHERE = {"objectives/trl.json"}  # needs an environment of its own: scripts/golden/trl_numbers.py


def files(folder):
    found = [f for f in folder.rglob("*") if f.is_file() and f.suffix in KINDS]
    return sorted({str(f.relative_to(folder)) for f in found} - ELSEWHERE)


class GoldensTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.fresh = pathlib.Path(holder.name)
        writer = support.ROOT / "scripts/golden/write_fixtures.py"
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        support.run([sys.executable, "-B", writer, cls.fresh], env=one_thread)

    def same(self, a, b, where):
        """Equal JSON values; floats to 1e-5 of their size."""
        self.assertEqual(type(a), type(b), where)
        if isinstance(a, dict):
            self.assertEqual(list(a), list(b), where)
            for key in a:
                self.same(a[key], b[key], f"{where}.{key}")
        elif isinstance(a, list):
            self.assertEqual(len(a), len(b), where)
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                self.same(x, y, f"{where}[{i}]")
        elif isinstance(a, float):
            self.assertTrue(abs(a - b) <= 1e-5 * max(1.0, abs(a)), f"{where}: {a} {b}")
        else:
            self.assertEqual(a, b, where)

    def test_the_same_files(self):
        self.assertEqual(files(COMMITTED), files(self.fresh))

    def test_the_same_content(self):
        import numpy as np
        from safetensors.numpy import load_file

        for name in files(self.fresh):
            old, new = COMMITTED / name, self.fresh / name
            if name.startswith(COMPUTED) and name.endswith(".safetensors"):
                a, b = load_file(str(old)), load_file(str(new))
                self.assertEqual(sorted(a), sorted(b), name)
                for key in a:
                    gap = np.abs(a[key].astype(np.float64) - b[key]).max()
                    bound = 1e-4 * max(1.0, np.abs(a[key]).max())
                    self.assertTrue(gap <= bound, f"{name} {key}: {gap}")
                continue
            if name.endswith(".json"):
                self.same(json.loads(old.read_text()), json.loads(new.read_text()), name)
            else:
                self.assertEqual(old.read_bytes(), new.read_bytes(), name)


if __name__ == "__main__":
    support.main()
