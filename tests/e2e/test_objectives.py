"""Every train.objective end to end: real programs, the committed tiny model, the starter data.

One SHA-256 of the adapter with 1 worker and with 2; the reference of DPO is scored once, kept in run.db
and used again by a run that is resumed. Standard library only; every wait is for a condition.
"""
import hashlib
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

from fleet import BIN, MODEL, ROOT, SLOW
import starter

STEPS, DEADLINE = (3, 240) if SLOW else (8, 60)

CONFIG = f"""
model.path: {MODEL}
data:
  train: {starter.TRAIN}
  values: {ROOT}/configs/values/vcd.yaml
train:
  max_steps: {STEPS}
  batch_groups: 4
  seed: 7
unit_tokens: 300
eval.before: false
checkpoint.steps: 2
"""

OBJECTIVES = {
    "pft": [],
    "sft-a": ["train.objective=sft", "sft.side=a"],
    "sft-mix": ["train.objective=sft", "sft.side=mix"],
    "dpo": ["train.objective=dpo", "dpo.label_smoothing=0.1"],
    "simpo": ["train.objective=simpo"],
    "pft-contrast": ["train.objective=pft-contrast"],
    "ranking": ["train.objective=ranking"],
    "pft-contrast-ranking": ["train.objective=pft-contrast-ranking"],
    "anchored": [f"anchor.data={ROOT}/configs/prompts/anchor.json", "anchor.texts=3"],
}


class Objectives(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pft-objectives-")
        self.config = os.path.join(self.folder, "config.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(CONFIG)
        self.children = []

    def tearDown(self):
        for child in self.children:
            child.kill()
            child.wait()
        shutil.rmtree(self.folder)

    def program(self, name, *args):
        """A child whose output goes to the log; killed when the test leaves it behind."""
        with open(os.path.join(self.folder, "log"), "ab") as log:
            child = subprocess.Popen([os.path.join(BIN, name), *args], stdout=log, stderr=log,
                                     stdin=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def wait_for(self, what, condition):
        end = time.monotonic() + DEADLINE
        while not condition():
            self.assertLess(time.monotonic(), end, f"timed out: {what}")
            time.sleep(0.01)  # between two looks at a condition, never instead of one

    def address(self, name):
        try:
            with open(os.path.join(self.run_of(name), "address.json"), encoding="utf-8") as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def coordinator(self, name, sets, *args):
        child = self.program("pft-coordinator", self.config, "--out", self.run_of(name), *args,
                             *self.settings(sets))
        self.wait_for("the address", lambda: self.address(name).get("pid") == child.pid)
        return child

    @staticmethod
    def settings(sets):
        return [word for s in sets for word in ("--set", s)]

    def command(self, name, sets, *args):
        return [os.path.join(BIN, "pft"), "run", self.config, "--out", self.run_of(name), *args,
                *self.settings(sets)]

    def run_of(self, name):
        return os.path.join(self.folder, name)

    def train(self, name, sets, *args):
        done = subprocess.run(self.command(name, sets, *args), capture_output=True, text=True,
                              timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        return self.adapter(name)

    def adapter(self, name):
        with open(os.path.join(self.run_of(name), "adapter", "adapter_model.safetensors"), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def ask(self, name, sql):
        """Rows of run.db, [] while it is not there yet."""
        path = os.path.join(self.run_of(name), "run.db")
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
                return db.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []

    def losses(self, name):
        return [row[0] for row in self.ask(name, "SELECT loss FROM steps ORDER BY step")]

    def test_one_and_two_workers_make_one_adapter_under_every_objective(self):
        adapters, losses = {}, {}
        for name, sets in OBJECTIVES.items():
            with self.subTest(objective=name):
                adapters[name] = self.train(f"{name}-1", sets, "--workers", "1")
                self.assertEqual(self.train(f"{name}-2", sets, "--workers", "2"), adapters[name])
                losses[name] = self.losses(f"{name}-1")
                self.assertEqual(losses[name], self.losses(f"{name}-2"))
                self.assertEqual(len(losses[name]), STEPS)
                print(f"{name}: {adapters[name][:16]}, losses {losses[name][0]:.4f} "
                      f"to {losses[name][-1]:.4f}")
        self.assertEqual(len(set(adapters.values())), len(OBJECTIVES))
        # B = 0 at the start: the policy is the reference, log 2 for each side
        self.assertLess(abs(losses["dpo"][0] - 2 * math.log(2)), 1e-4)
        # and every objective with a PFT term starts above it
        for name in ("simpo", "pft-contrast", "ranking", "pft-contrast-ranking"):
            self.assertGreater(losses[name][0], losses["pft"][0])

    def test_an_anchored_run_survives_a_kill(self):
        texts = os.path.join(self.folder, "texts.json")  # few, so that the shuffles change
        with open(f"{ROOT}/configs/prompts/anchor.json", encoding="utf-8") as f:
            few = json.load(f)[:5]
        with open(texts, "w", encoding="utf-8") as f:
            json.dump(few, f)
        sets = [f"anchor.data={texts}", "anchor.weight=3", f"train.max_steps={STEPS * 2}"]
        quiet = self.train("quiet", sets, "--workers", "1")
        kl = [row[0] for row in self.ask("quiet", "SELECT kl FROM steps ORDER BY step")]
        self.assertEqual(kl[0], 0.0)  # B = 0: the model is the base
        self.assertGreater(min(kl[1:]), 0.0)
        with open(os.path.join(self.run_of("quiet"), "report.md"), encoding="utf-8") as f:
            self.assertIn("KL to the base on the anchor's texts", f.read())
        coordinator = self.coordinator("killed", sets)
        worker = self.program("pft-worker", self.address("killed")["jobs"], "--model", MODEL)
        self.wait_for("a third step", lambda: len(self.losses("killed")) >= 3)
        coordinator.kill()
        coordinator.wait()
        os.rename(texts, texts + "x")
        with open(texts, "w", encoding="utf-8") as f:
            json.dump(few[::-1], f)
        refused = subprocess.run(self.command("killed", sets, "--resume"), capture_output=True,
                                 text=True, timeout=DEADLINE, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("the texts of the anchor (anchor.data), SHA-256", refused.stdout + refused.stderr)
        os.replace(texts + "x", texts)
        again = self.coordinator("killed", sets, "--resume")
        self.assertEqual(again.wait(timeout=DEADLINE), 0)
        self.assertEqual(worker.wait(timeout=DEADLINE), 0)
        self.assertEqual(self.adapter("killed"), quiet)
        self.assertEqual(kl, [row[0] for row in self.ask("killed", "SELECT kl FROM steps ORDER BY step")])

    def test_the_reference_is_scored_once_and_survives_a_kill(self):
        sets = [*OBJECTIVES["dpo"], f"train.max_steps={STEPS * 5}"]
        quiet = self.train("quiet", sets, "--workers", "1")
        self.assertEqual(len(self.ask("quiet", "SELECT 1 FROM evals WHERE name = 'reference'")), 1)
        coordinator = self.coordinator("killed", sets)
        worker = self.program("pft-worker", self.address("killed")["jobs"], "--model", MODEL)
        self.wait_for("a third step", lambda: len(self.losses("killed")) >= 3)
        coordinator.kill()
        coordinator.wait()
        before = self.ask("killed", "SELECT json FROM evals WHERE name = 'reference'")
        again = self.coordinator("killed", sets, "--resume")
        self.assertEqual(again.wait(timeout=DEADLINE), 0)
        self.assertEqual(worker.wait(timeout=DEADLINE), 0)
        self.assertEqual(self.adapter("killed"), quiet)
        after = self.ask("killed", "SELECT json FROM evals WHERE name = 'reference'")
        self.assertEqual(before, after)
        self.assertEqual(after, self.ask("quiet", "SELECT json FROM evals WHERE name = 'reference'"))
        self.assertEqual(sum(x is not None for x in json.loads(after[0][0])["log_p"]),
                         min(96, STEPS * 5 * 4))


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
