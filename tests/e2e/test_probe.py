"""The digest that every worker is compared with comes from the coordinator's own machine: it is taken whole,
and a strict run does not begin without it. Standard library only; every wait is for a condition.
"""
import os
import shutil
import sys
import unittest

from fleet import BIN, FleetCase, wait_for


class Probe(FleetCase):
    def coordinator_beside(self, script, *args):
        """A coordinator whose folder holds this script as pft-worker, or none."""
        folder = os.path.join(self.folder, "bin")
        os.mkdir(folder)
        shutil.copy(os.path.join(BIN, "pft-coordinator"), folder)
        path = os.path.join(folder, "pft-worker")
        if script is None:
            path = os.path.join(folder, "elsewhere")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o700)
        return self.start("coordinator", os.path.join(folder, "pft-coordinator"), self.config, "--out",
                          self.run_folder, *args)

    def test_a_digest_that_comes_after_the_exit_of_its_process_counts(self):
        late = f'({BIN}/pft-worker "$@" > "$0.out"; sleep 0.5; cat "$0.out") &\nexit 0'
        coordinator = self.coordinator_beside(late, "--set", "train.max_steps=2")
        wait_for("the digest", lambda: " probe digest=" in coordinator.text() or not coordinator.running())
        self.worker("w")
        self.finish(coordinator)
        self.assertNotIn("probe_failed", coordinator.text())

    def test_a_strict_run_ends_where_its_own_digest_cannot_be_taken(self):
        for script in ("exit 3", "echo no weights >&2; exit 3", "kill -9 $$", "echo 1234", "exit 0", None):
            with self.subTest(script):
                coordinator = self.coordinator_beside(script)
                self.assertEqual(coordinator.end(), 1, coordinator.text())
                self.assertIn("strict: false", coordinator.text())
                if script and "weights" in script:
                    self.assertIn("no weights; pft-worker --probe: exit 3", coordinator.text())
            shutil.rmtree(self.run_folder)
            shutil.rmtree(os.path.join(self.folder, "bin"))

    def test_a_relaxed_run_takes_the_first_workers_and_says_so(self):
        coordinator = self.coordinator_beside("exit 3", "--set", "train.max_steps=2", "--set", "strict=false")
        wait_for("the failed probe", lambda: "probe_failed" in coordinator.text() or not coordinator.running())
        self.worker("w")
        self.finish(coordinator)
        self.assertIn("taken from the first worker, w", coordinator.text())


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft-coordinator")):
        print(f"skipped: no pft-coordinator in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
