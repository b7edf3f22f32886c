"""A fleet end to end: real programs, the committed tiny model, the starter data. Standard library only.

One SHA-256 of the adapter whatever happened on the way: 1, 2 and 4 workers; a worker killed and
another added; the coordinator killed and resumed; SIGTERM in between. And what must be refused.
Every wait is for a condition with a deadline.
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("PFT_BIN", os.path.join(ROOT, "build", "release", "bin"))
MODEL = os.path.join(ROOT, "tests", "golden", "tiny")
OTHER_MODEL = os.path.join(ROOT, "tests", "golden", "tiny-untied")
SLOW = bool(os.environ.get("PFT_SLOW"))  # under a sanitizer: fewer steps, more patience
STEPS, KILLS, DEADLINE = (12, (2, 5, 8), 150) if SLOW else (40, (4, 11, 19), 60)

CONFIG = f"""
model:
  path: {MODEL}
data:
  train: {ROOT}/data/starter_train.json
  values: {ROOT}/configs/values/vcd.yaml
train:
  max_steps: {STEPS}
  batch_groups: 6
  seed: 7
unit_tokens: 300
checkpoint:
  steps: 3
eval:
  before: false
"""


def wait_for(what, condition):
    """The value of condition() once it is true; fails by name after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)  # between two looks at a condition, never instead of one
    raise AssertionError(f"timed out: {what}")


class Program:
    """A child with its output in files; killed when the test leaves it behind."""

    def __init__(self, folder, name, program, *args):
        self.path = os.path.join(folder, name)
        with open(self.path + ".out", "wb") as out, open(self.path + ".err", "ab") as err:
            self.process = subprocess.Popen([os.path.join(BIN, program), *args], stdout=out,
                                            stderr=err, stdin=subprocess.DEVNULL, cwd=folder)

    def text(self, ext="err"):
        with open(f"{self.path}.{ext}", encoding="utf-8", errors="replace") as f:
            return f.read()

    def running(self):
        return self.process.poll() is None

    def send(self, number):
        if self.running():
            self.process.send_signal(number)

    def end(self):
        """Exit code; signals are negative."""
        try:
            return self.process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.path} does not end:\n{self.text()[-3000:]}") from None


class Fleet(unittest.TestCase):
    reference = None  # SHA-256 of the adapter of the quiet run with one worker

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pft-fleet-")
        self.run_folder = os.path.join(self.folder, "run")
        self.config = os.path.join(self.folder, "config.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(CONFIG)
        self.programs = []

    def tearDown(self):
        for program in self.programs:
            program.send(signal.SIGKILL)
            program.process.wait()
        shutil.rmtree(self.folder)

    def start(self, name, program, *args):
        child = Program(self.folder, name, program, *args)
        self.programs.append(child)
        return child

    def coordinator(self, *args, name="coordinator", run=None):
        run = run or self.run_folder
        child = self.start(name, "pft-coordinator", self.config, "--out", run, *args)
        pid = child.process.pid

        def serving():
            if not child.running():
                raise AssertionError(f"the coordinator ended:\n{child.text()[-3000:]}")
            return self.address(run).get("pid") == pid
        wait_for("address.json", serving)
        return child

    def address(self, run=None):
        try:
            with open(os.path.join(run or self.run_folder, "address.json"), encoding="utf-8") as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def worker(self, name, *args, model=MODEL, address=None):
        address = address or self.address()["jobs"]
        return self.start(name, "pft-worker", address, "--model", model, "--id", name, *args)

    def status(self, run=None):
        shown = subprocess.run([os.path.join(BIN, "pft"), "status", run or self.run_folder, "--json"],
                               capture_output=True, text=True, check=False)
        return json.loads(shown.stdout) if shown.returncode == 0 else None

    def committed(self, steps):
        """True once the coordinator says that so many steps are committed."""
        status = self.status()
        return status is not None and status["step"]["committed"] >= steps

    def adapter(self, run=None):
        path = os.path.join(run or self.run_folder, "adapter", "adapter_model.safetensors")
        with open(path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def finish(self, coordinator):
        self.assertEqual(coordinator.end(), 0, coordinator.text()[-3000:])
        return self.adapter()

    def quiet(self):
        """The adapter of one worker that nobody disturbs; computed once."""
        if Fleet.reference is None:
            run = os.path.join(self.folder, "quiet")
            coordinator = self.coordinator(name="quiet-coordinator", run=run)
            worker = self.worker("quiet-worker", address=self.address(run)["jobs"])
            self.assertEqual(coordinator.end(), 0, coordinator.text()[-3000:])
            self.assertEqual(worker.end(), 0, worker.text())
            Fleet.reference = self.adapter(run)
            print(f"adapter {Fleet.reference}")
        return Fleet.reference

    def test_two_and_four_workers_of_any_slots_and_threads_make_the_same_adapter_as_one(self):
        expected = self.quiet()
        for n in (2, 4):
            self.run_folder = os.path.join(self.folder, f"run-{n}")
            coordinator = self.coordinator(name=f"coordinator-{n}")
            workers = [self.worker(f"w{n}-{i}", "--slots", str(1 + i % 2), "--threads", str(1 + i // 2))
                       for i in range(n)]
            self.assertEqual(self.finish(coordinator), expected)
            self.assertEqual([w.end() for w in workers], [0] * n)
            self.assertFalse(os.path.exists(os.path.join(self.run_folder, "address.json")))
            self.assertTrue(os.path.exists(os.path.join(self.run_folder, "report.md")))

    def test_a_killed_worker_and_a_new_one_do_not_change_a_bit(self):
        coordinator = self.coordinator()
        first = self.worker("first")
        self.worker("second", "--slots", "2")
        wait_for("4 steps", lambda: self.committed(4))
        first.send(signal.SIGKILL)
        killed = time.monotonic()
        self.assertEqual(first.end(), -signal.SIGKILL)
        wait_for("the dead worker to be noticed", lambda: not coordinator.running() or
                 "first" not in [w["id"] for w in (self.status() or {"workers": []})["workers"]])
        if coordinator.running():
            self.assertLess(time.monotonic() - killed, 3.5)
        self.worker("third")
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_a_worker_told_to_stop_leaves_politely_in_the_middle(self):
        coordinator = self.coordinator()
        first = self.worker("first")
        wait_for("3 steps", lambda: self.committed(3))
        first.send(signal.SIGTERM)
        self.assertEqual(first.end(), 0, first.text())
        self.assertIn("worker_left", coordinator.text())
        self.worker("second")
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_a_killed_coordinator_goes_on_where_it_was(self):
        coordinator = self.coordinator()
        worker = self.worker("steady")
        for steps in KILLS:
            wait_for(f"{steps} steps", lambda s=steps: self.committed(s))
            coordinator.send(signal.SIGKILL)
            coordinator.end()
            coordinator = self.coordinator("--resume", name=f"coordinator-{steps}")
        self.assertEqual(self.finish(coordinator), self.quiet())
        self.assertEqual(worker.end(), 0, worker.text()[-3000:])

    def test_a_coordinator_told_to_stop_can_be_resumed(self):
        coordinator = self.coordinator()
        worker = self.worker("steady")
        wait_for("4 steps", lambda: self.committed(4))
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5, coordinator.text()[-3000:])
        again = self.coordinator("--resume", name="again")
        self.assertEqual(self.finish(again), self.quiet())
        self.assertEqual(worker.end(), 0, worker.text()[-3000:])

    def test_a_frozen_worker_is_taken_for_dead_and_comes_back_by_itself(self):
        coordinator = self.coordinator()
        frozen = self.worker("frozen")
        wait_for("2 steps", lambda: self.committed(2))
        frozen.send(signal.SIGSTOP)
        wait_for("the silence to be noticed", lambda: not self.status()["workers"])
        frozen.send(signal.SIGCONT)
        self.assertEqual(self.finish(coordinator), self.quiet())
        self.assertEqual(frozen.end(), 0, frozen.text()[-3000:])

    def test_a_relaxed_run_over_tcp_makes_the_same_adapter(self):
        with open(self.config, "a", encoding="utf-8") as f:
            f.write("strict: false\n")
        coordinator = self.coordinator("--bind", "tcp://127.0.0.1:*", "--status",
                                       "tcp://127.0.0.1:*")
        self.assertTrue(self.address()["jobs"].startswith("tcp://127.0.0.1:"))
        self.worker("a")
        self.worker("b")
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_the_status_has_every_field(self):
        coordinator = self.coordinator()
        wait_for("the status", self.status)
        self.assertEqual(self.status()["state"], "starting")
        self.worker("shown")
        status = wait_for("a step", lambda: (lambda s: s if s and s["step"]["committed"] > 1 else None)
                          (self.status()))
        self.assertEqual(set(status), {"schema", "run", "task", "state", "text", "step", "loss",
                                       "pairs_per_s", "tokens_per_s", "eta_s", "units",
                                       "useful_slots", "workers"})
        self.assertEqual((status["task"], status["state"]), ("train", "running"))
        self.assertEqual(status["step"]["total"], STEPS)
        self.assertGreater(status["useful_slots"], 1)
        self.assertEqual(set(status["workers"][0]), {
            "id", "host", "slots", "state", "units_done", "tokens_per_s", "last_heard_ms",
            "core_type", "strikes"})
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5)

    def test_an_evaluation_alone_prints_its_result(self):
        coordinator = self.coordinator()
        self.worker("trainer")
        self.finish(coordinator)
        out = os.path.join(self.folder, "eval")
        scored = self.start("eval", "pft-coordinator", "--eval-only", "--from", self.run_folder,
                            "--out", out, "--set", f"data.test={ROOT}/data/starter_test.json",
                            "--set", "eval.readouts=[contrast]")
        wait_for("address.json", lambda: self.address(out) or not scored.running())
        self.worker("scorer", address=self.address(out)["jobs"])
        self.assertEqual(scored.end(), 0, scored.text()[-3000:])
        result = json.loads(scored.text("out"))
        self.assertEqual(result["results"][0]["readout"], "contrast")
        self.assertEqual(result["n_scenarios"], 24)

    def test_what_does_not_fit_is_refused_with_a_reason(self):
        coordinator = self.coordinator()
        wrong = self.worker("wrong", model=OTHER_MODEL)
        self.assertEqual(wrong.end(), 3)
        self.assertIn("model", wrong.text())

        second = self.start("second", "pft-coordinator", self.config, "--out", self.run_folder,
                            "--resume")
        self.assertEqual(second.end(), 3)
        self.assertIn(str(coordinator.process.pid), second.text())

        for address in ("tcp://0.0.0.0:5555", "tcp://*:5555"):
            open_bind = self.start("open", "pft-coordinator", self.config, "--out",
                                   os.path.join(self.folder, "x"), "--bind", address)
            self.assertEqual(open_bind.end(), 3)
            self.assertIn("keys", open_bind.text())

        nobody = self.worker("nobody", "--give-up-after", "1",
                             address=f"ipc://{self.folder}/nobody")
        self.assertEqual(nobody.end(), 4)
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5)

        again = self.start("again", "pft-coordinator", self.config, "--out", self.run_folder)
        self.assertEqual(again.end(), 3)
        self.assertIn("--resume", again.text())
        changed = self.start("changed", "pft-coordinator", self.config, "--out", self.run_folder,
                             "--resume", "--set", "train.seed=8")
        self.assertEqual(changed.end(), 3)
        self.assertIn("other settings", changed.text())
        self.assertIn("train.seed: was 7, now 8)", changed.text())
        changed = self.start("other", "pft-coordinator", self.config, "--out", self.run_folder, "--resume",
                             "--set", f"model.path={OTHER_MODEL}", "--set",
                             f"data.train={ROOT}/data/starter_test.json", "--set", "lora.r=4")
        self.assertEqual(changed.end(), 3)
        for field in ("lora.r: was 16, now 4", "model.path", "data.train"):
            self.assertIn(field, changed.text())

    def test_wrong_words_on_the_command_line_are_usage(self):
        for args in (["pft-worker"], ["pft-worker", "nowhere", "--model", MODEL],
                     ["pft-worker", "ipc:///x", "--model", MODEL, "--slots", "0"],
                     ["pft-worker", "ipc:///x", "--model", MODEL, "--nonsense"],
                     ["pft-coordinator"], ["pft-coordinator", self.config],
                     ["pft-coordinator", self.config, "--out", "x", "--bind", "ipc://"]):
            child = self.start("usage", *args)
            self.assertEqual(child.end(), 2, args)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
