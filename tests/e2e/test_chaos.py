"""scripts/chaos in short: a real fleet while workers and the coordinator are killed, stopped, cut off and
resumed gives the adapter of the quiet run, and the figures that the script promises. Standard library only.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from fleet import BIN, ROOT, SLOW

CHAOS = os.path.join(ROOT, "scripts", "chaos")


def chaos(*words):
    return subprocess.run([sys.executable, "-B", CHAOS, "--bin", BIN, *words], capture_output=True, text=True,
                          timeout=500, check=False)


class Chaos(unittest.TestCase):
    def storm(self, *words):
        """A short run; its figures as the JSON file holds them."""
        with tempfile.TemporaryDirectory(prefix="pft-chaos-test-") as folder:
            path = os.path.join(folder, "figures.json")
            done = chaos("--steps", "30" if SLOW else "60", "--mtbf", "0.3", "--json", path, *words)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("lost       nothing", done.stdout)
            with open(path, encoding="utf-8") as f:
                return json.load(f)

    def check(self, found, least):
        quiet, rough = found["quiet"], found["rough"]
        self.assertGreaterEqual(sum(rough["faults"].values()), least, rough["faults"])
        self.assertEqual(rough["adapter"], quiet["adapter"])
        self.assertEqual(rough["steps"], quiet["steps"])
        self.assertGreaterEqual(rough["units_computed"], quiet["units_needed"])
        self.assertGreaterEqual(rough["units_handed_out"], rough["units_computed"])
        self.assertGreater(rough["bytes_up"], 0)

    def test_a_fleet_under_every_kind_of_fault_loses_nothing(self):
        self.check(self.storm("--seed", "2", "--max-faults", "12"), 4)

    def test_a_fleet_over_tcp_whose_coordinator_is_killed_loses_nothing(self):
        found = self.storm("--transport", "tcp", "--workers", "2", "--max-faults", "3", "--faults",
                           "kill-coordinator,kill-worker,cut-link")
        self.check(found, 1)

    def test_wrong_words_are_usage(self):
        for words in (["--mtbf", "0"], ["--faults", "earthquake"], ["--steps", "5", "--seconds", "5"],
                      ["--workers", "0"], ["--nonsense"]):
            self.assertEqual(chaos(*words).returncode, 2, words)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft-coordinator")):
        print(f"skipped: no pft-coordinator in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
