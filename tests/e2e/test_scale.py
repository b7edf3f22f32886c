"""pft scale end to end: local workers added and drained while pft run goes on. Standard library only."""
import fcntl
import json
import os
import signal
import subprocess
import sys
import unittest

from fleet import BIN, FleetCase, wait_for


class Scale(FleetCase):
    def start_run(self, workers, *args):
        return self.start("run-command", "pft", "run", self.config, "--workers", str(workers), "--out",
                          self.run_folder, *args)

    def scale(self, n, run=None):
        return subprocess.run([os.path.join(BIN, "pft"), "scale", run or self.run_folder, str(n)],
                              capture_output=True, text=True, check=False)

    def workers(self):
        return len((self.status() or {"workers": []})["workers"])

    def unlocked(self):
        with open(os.path.join(self.run_folder, "lock"), "rb") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def test_workers_are_added_and_drained_in_the_middle_and_the_adapter_is_the_same(self):
        expected = self.quiet()
        run = self.start_run(1)
        wait_for("the first steps", lambda: self.committed(1))
        up = self.scale(4)
        self.assertEqual(up.returncode, 0, up.stderr)
        self.assertIn("4 workers, 1 before", up.stdout)
        wait_for("four workers", lambda: self.workers() == 4)
        down = self.scale(1)
        self.assertEqual(down.returncode, 0, down.stderr)
        self.assertIn("1 worker, 4 before", down.stdout)
        wait_for("one worker, or the end", lambda: self.workers() == 1 or not run.running())
        self.assertEqual(run.end(), 0, run.text()[-3000:])
        self.assertEqual(self.adapter(), expected)
        for i in (2, 3, 4):  # they were drained, not killed, and not started again
            with open(os.path.join(self.run_folder, "logs", f"worker-{i}.log"), encoding="utf-8") as f:
                text = f.read()
            self.assertIn("leaving drained", text)
            self.assertEqual(text.count(" started "), 1, text)
        self.assertFalse(os.path.exists(os.path.join(self.run_folder, "workers.json")))

    def test_the_place_of_a_drained_worker_is_taken_again(self):
        run = self.start_run(2)
        wait_for("the first step", lambda: self.committed(1))
        self.assertEqual(self.scale(1).returncode, 0)
        again = self.scale(2)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("2 workers, 1 before", again.stdout)
        with open(os.path.join(self.run_folder, "workers.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["wanted"], 2)
        self.assertEqual(run.end(), 0, run.text()[-3000:])
        self.assertEqual(self.adapter(), self.quiet())

    def test_what_cannot_be_scaled_is_told(self):
        nothing = self.scale(2)
        self.assertEqual(nothing.returncode, 1)
        self.assertIn("no pft run owns workers there", nothing.stderr)
        for n in ("0", "257", "x", "-1"):
            self.assertEqual(self.scale(n).returncode, 2, n)
        run = self.start_run(1)
        wait_for("the first step", lambda: self.committed(1))
        run.send(signal.SIGKILL)
        run.end()
        dead = self.scale(2)
        self.assertEqual(dead.returncode, 1)
        self.assertIn("--resume", dead.stderr)
        wait_for("the coordinator to let the run go", self.unlocked)
        with open(os.path.join(self.run_folder, "workers.want"), "w", encoding="utf-8") as f:
            f.write("3\n")  # nobody took it up before the kill
        resumed = self.start_run(1, "--resume")
        self.assertEqual(resumed.end(), 0, resumed.text()[-3000:])
        self.assertFalse(os.path.exists(os.path.join(self.run_folder, "logs", "worker-3.log")))
        self.assertEqual(self.adapter(), self.quiet())


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
