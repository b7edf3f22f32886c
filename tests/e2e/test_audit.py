"""Real programs: units repeated on another host change no bit, and a run goes back to an earlier
step and ends in the same bits."""
import os
import shutil
import sqlite3
import subprocess
import unittest

from fleet import BIN, MODEL, STEPS, FleetCase, wait_for

UNSHARE = ["unshare", "--user", "--map-root-user", "--uts", "--"]


def can_name_hosts():
    if not shutil.which("unshare") or not shutil.which("hostname"):
        return False
    return subprocess.run([*UNSHARE, "hostname", "other"], capture_output=True,
                          check=False).returncode == 0


class AuditCase(FleetCase):
    def host_worker(self, name, host):
        """A worker of a host of that name, in a namespace of its own."""
        path = os.path.join(self.folder, f"{name}.sh")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"hostname {host} && exec {BIN}/pft-worker \"$@\"\n")
        # Program joins its first word to BIN: an absolute path stays as it is.
        return self.start(name, shutil.which("unshare"), *UNSHARE[1:], "sh", path,
                          self.address()["jobs"], "--model", MODEL, "--id", name)

    def test_units_that_two_hosts_compute_change_no_bit(self):
        if not can_name_hosts():
            self.skipTest("unshare --uts is not allowed here: hosts cannot be named")
        quiet = self.quiet()
        coordinator = self.coordinator("--set", "audit.rate=1")
        self.host_worker("one", "host-one")
        self.host_worker("two", "host-two")
        wait_for("units confirmed by a second host",
                 lambda: (lambda s: s is not None and s["audit"]["confirmed"] > 10)(self.status()))
        self.assertEqual({w["host"] for w in self.status()["workers"]}, {"host-one", "host-two"})
        self.assertEqual(self.finish(coordinator), quiet)

    def test_a_run_that_goes_back_ends_in_the_same_adapter(self):
        quiet = self.quiet()
        coordinator = self.coordinator()
        worker = self.worker("first")
        self.assertEqual(self.finish(coordinator), quiet)
        self.assertEqual(worker.end(), 0, worker.text())
        back = STEPS - 1
        again = self.coordinator("--resume", "--from-step", str(back), name="again")
        self.assertFalse(os.path.exists(os.path.join(self.run_folder, "report.md")))
        self.assertIn(f"went_back step={back} from={STEPS}", again.text())
        self.worker("second")
        self.assertEqual(self.finish(again), quiet)
        self.assertEqual(again.text().count("info step step="), STEPS - back)
        with sqlite3.connect(os.path.join(self.run_folder, "run.db")) as db:
            events = db.execute("SELECT detail FROM events WHERE name = 'went_back'").fetchall()
        self.assertEqual(events, [(f"to step {back}",)])

    def test_a_step_that_cannot_be_reached_is_refused_and_nothing_changes(self):
        coordinator = self.coordinator()
        worker = self.worker("first")
        adapter = self.finish(coordinator)
        self.assertEqual(worker.end(), 0, worker.text())
        for step, code, words in (("x", 2, "whole number"), (str(STEPS + 1), 1, "are possible"),
                                  ("1", 1, "pruned")):
            refused = self.start(f"refused-{step}", "pft-coordinator", self.config, "--out",
                                 self.run_folder, "--resume", "--from-step", step)
            self.assertEqual(refused.end(), code, refused.text())
            self.assertIn(words, refused.text())
        alone = self.start("alone", "pft-coordinator", self.config, "--out", self.run_folder,
                           "--from-step", "3")
        self.assertEqual(alone.end(), 2, alone.text())
        self.assertEqual(self.adapter(), adapter)
        self.assertTrue(os.path.exists(os.path.join(self.run_folder, "report.md")))


if __name__ == "__main__":
    unittest.main()
