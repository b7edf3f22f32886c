"""scripts/failpoints on a subset of the failpoints, and that a release program has none. Standard library only."""
import os
import subprocess
import sys
import unittest

from fleet import BIN, ROOT, SLOW

WITH = os.path.join(BIN, "failpoints")  # absent where every program has them
WITH = WITH if os.path.isdir(WITH) else BIN


class Failpoints(unittest.TestCase):
    def test_whatever_is_struck_is_started_again_and_the_adapter_is_the_same(self):
        words = ["--patience", "5"] if SLOW else []
        done = subprocess.run([os.path.join(ROOT, "scripts", "failpoints"), "--bin", WITH, "--few", *words],
                              text=True, capture_output=True, check=False)
        print(done.stdout)
        if done.returncode == 77:
            sys.exit(77)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-3000:])

    def test_a_wrong_word_is_usage_and_names_what_is_wrong(self):
        for program in ("pft-coordinator", "pft-worker"):
            done = subprocess.run([os.path.join(WITH, program)], text=True, capture_output=True, check=False,
                                  env={**os.environ, "PFT_FAILPOINT": "journal.nowhere:kill"})
            self.assertEqual(done.returncode, 2)
            self.assertIn("journal.nowhere", done.stderr)

    def test_a_release_program_has_no_failpoint(self):
        if WITH == BIN:
            self.skipTest("every program of this build has them")
        for program in ("pft", "pft-coordinator", "pft-worker"):
            with open(os.path.join(BIN, program), "rb") as f:
                self.assertNotIn(b"PFT_FAILPOINT", f.read())


if __name__ == "__main__":
    unittest.main(verbosity=2)
