"""A small fleet of real programs in a temporary folder: what the end-to-end tests share. Standard
library only; every wait is for a condition with a deadline."""
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
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import level  # noqa: E402, F401: which kernels `native` means
import starter  # noqa: E402

BIN = os.path.abspath(os.environ.get("PFT_BIN", os.path.join(ROOT, "build", "release", "bin")))
MODEL = os.path.join(ROOT, "tests", "golden", "tiny")
OTHER_MODEL = os.path.join(ROOT, "tests", "golden", "tiny-untied")
SLOW = bool(os.environ.get("PFT_SLOW"))  # under a sanitizer: fewer steps, more patience
STEPS, KILLS, DEADLINE = (12, (2, 5, 8), 240) if SLOW else (40, (4, 11, 19), 120)

CONFIG = f"""
model:
  path: {MODEL}
data:
  train: {starter.TRAIN}
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


class FleetCase(unittest.TestCase):
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
        if FleetCase.reference is None:
            run = os.path.join(self.folder, "quiet")
            coordinator = self.coordinator(name="quiet-coordinator", run=run)
            worker = self.worker("quiet-worker", address=self.address(run)["jobs"])
            self.assertEqual(coordinator.end(), 0, coordinator.text()[-3000:])
            self.assertEqual(worker.end(), 0, worker.text())
            FleetCase.reference = self.adapter(run)
            print(f"adapter {FleetCase.reference}")
        return FleetCase.reference
