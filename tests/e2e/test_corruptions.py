"""scripts/corruptions on a few random ones, and the damages that once went by without a word, each by name: one bit of a
learning rate in run.db, a lost run.db, a lost WAL. Then disks that are full by a limit. Standard library only."""
import hashlib
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import unittest

from fleet import BIN, FleetCase, ROOT, SLOW, wait_for

WITH = os.path.join(BIN, "failpoints")  # absent where every program has them
WITH = WITH if os.path.isdir(WITH) else BIN


class Corruptions(unittest.TestCase):
    def test_random_damage_ends_in_the_same_adapter_or_in_a_refusal_that_helps(self):
        done = subprocess.run([os.path.join(ROOT, "scripts", "corruptions"), "--bin", WITH, "--count",
                               "6" if SLOW else "30"], text=True, capture_output=True, check=False)
        print(done.stdout)
        if done.returncode == 77:
            self.skipTest("the programs have no failpoints")
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-3000:])


class Killed(FleetCase):
    """A run killed with steps behind its newest checkpoint."""

    def setUp(self):
        super().setUp()
        coordinator = self.coordinator()
        self.worker("w1")
        wait_for("steps on disk", lambda: self.committed(4))
        coordinator.send(signal.SIGKILL)
        coordinator.process.wait()

    def path(self, name):
        return os.path.join(self.run_folder, name)

    def sql(self, words):
        database = sqlite3.connect(self.path("run.db"))
        try:
            rows = database.execute(words).fetchall()
            database.commit()
            return rows
        finally:
            database.close()

    def log(self):
        with open(self.path("steps.log"), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def refused(self, *words, code, says):
        """The start is refused with these words, and has left the log alone."""
        before = self.log()
        done = self.start("again", "pft-coordinator", self.config, "--out", self.run_folder, *words)
        self.assertEqual(done.end(), code, done.text()[-3000:])
        for word in says:
            self.assertIn(word, done.text())
        self.assertEqual(self.log(), before)

    def test_one_bit_of_a_rate_in_the_database_is_refused(self):
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        (segment,) = self.sql("SELECT MAX(segment) FROM steps")[0]
        rows = self.sql(f"SELECT lr FROM steps WHERE segment = {segment}")
        with open(self.path("run.db"), "rb") as f:
            data = bytearray(f.read())
        pattern = struct.pack(">d", rows[-1][0])
        at = data.find(pattern)
        self.assertGreater(at, 0)
        while at >= 0:
            data[at + 2] ^= 0x10
            at = data.find(pattern, at + 8)
        with open(self.path("run.db"), "wb") as f:
            f.write(data)
        self.refused("--resume", code=1, says=["steps.log", "run.db", "learning rate", "another --out"])

    def test_without_its_database_a_folder_is_refused_with_and_without_resume(self):
        for name in ("run.db", "run.db-wal", "run.db-shm"):
            os.remove(self.path(name))
        self.refused("--resume", code=3, says=["run.db is gone", "restore", "another --out"])
        self.refused(code=3, says=["run.db is gone", "restore", "another --out"])

    def test_a_database_without_its_wal_is_refused(self):
        for name in ("run.db-wal", "run.db-shm"):
            os.remove(self.path(name))
        self.refused("--resume", code=1, says=["run.db", "restore", "another --out"])

    def test_settings_without_their_digest_are_refused_once_there_are_steps(self):
        self.sql("DELETE FROM meta WHERE key = 'fixed'")
        self.refused("--resume", code=1, says=["run.db", "fixed", "another --out"])


class Full(FleetCase):
    """A limit on the size of files (ulimit -f) is a full disk; one SIGTERM ends a run that waits for room."""

    def limit(self, process, size):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def degraded(self, coordinator):
        wait_for("a full disk", lambda: " degraded " in coordinator.text())

    def test_a_limit_on_files_is_waited_for_and_the_adapter_is_the_same(self):
        want = self.quiet()
        coordinator = self.coordinator()
        self.limit(coordinator.process, 100 << 10)
        self.worker("w1")
        self.degraded(coordinator)
        self.limit(coordinator.process, resource.RLIM_INFINITY)
        self.assertEqual(self.finish(coordinator), want)

    def test_one_sigterm_ends_a_run_whose_disk_is_full_and_it_goes_on_later(self):
        want = self.quiet()
        coordinator = self.coordinator()
        self.limit(coordinator.process, 100 << 10)
        self.worker("w1")
        self.degraded(coordinator)
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5, coordinator.text()[-3000:])
        coordinator = self.coordinator("--resume", name="later")
        self.worker("w2")
        self.assertEqual(self.finish(coordinator), want)


if __name__ == "__main__":
    unittest.main(verbosity=2)
