"""pft reproduce with the real programs on the committed tiny model: killed with kill -9 again and again, gone on,
and the same report as a batch that was left alone. Standard library only; every wait is for a condition.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from fleet import BIN, ROOT, SLOW
import starter

STEPS, DEADLINE = (4, 500) if SLOW else (30, 120)

RUN = f"""
model.path: {ROOT}/tests/golden/tiny
data:
  train: {starter.TRAIN}
  test: {starter.TEST}
  values: {ROOT}/configs/values/vcd.yaml
  max_length: 2048
train: {{max_steps: {STEPS}, batch_groups: 4}}
unit_tokens: 300
checkpoint.steps: 2
"""

MATRIX = """
title: Tiny <matrix>
base: run.yaml
reference: base
seeds: [0, 1]
variants:
  - {name: base, train: false}
  - {name: sft-a, set: {train.objective: sft, sft.side: a}, seeds: [0]}
  - {name: pft}
evaluations:
  - {name: select, args: --readout likelihood --limit 6 --fit 4, chance: 0.5, parts: [select_all.score]}
  - {name: history, args: "--task history --shots 0,1 --limit 4", variants: [base, pft], x: shots}
paper:
  - {what: select one, reported: up to 96.67 %, setting: large models, variant: pft, column: select likelihood}
claims:
  - {text: PFT on side b, better: pft, than: sft-a, column: select likelihood, side: b}
  - {text: all right, better: pft, column: select likelihood, at_least: 1.0}
"""


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class Reproduce(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pft-reproduce-")
        self.config = os.path.join(self.folder, "matrix.yaml")
        self.write("run.yaml", RUN)
        self.write("matrix.yaml", MATRIX)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
            f.write(text)

    def command(self, out, *args):
        return [os.path.join(BIN, "pft"), "reproduce", self.config, "--out", os.path.join(self.folder, out),
                "--workers", "1", *args]

    def run_matrix(self, out, *args, code=0):
        done = subprocess.run(self.command(out, *args), capture_output=True, text=True, timeout=DEADLINE,
                              check=False)
        self.assertEqual(done.returncode, code, done.stdout[-3000:] + done.stderr[-3000:])
        return done

    def read(self, *names):
        with open(os.path.join(self.folder, *names), encoding="utf-8") as f:
            return f.read()

    def results(self, out):
        """Every cell's result without what depends on the clock."""
        cells = json.loads(self.read(out, "results.json"))["cells"]
        for cell in cells:
            self.assertIsNotNone(cell["stored"], cell["cell"])
            cell["stored"]["result"].pop("train_seconds", None)
        return {cell["cell"]: cell["stored"]["result"] for cell in cells}

    def done_cells(self, out):
        folder = os.path.join(self.folder, out, "results")
        return set(os.listdir(folder)) if os.path.isdir(folder) else set()

    @unittest.skipIf(SLOW, "kill -9 and going on are for the programs as shipped")
    def test_a_batch_killed_again_and_again_ends_like_one_left_alone(self):
        done = self.run_matrix("quiet")
        for text in ("bag-of-words", "claims", "estimated", "select likelihood"):
            self.assertIn(text, done.stdout)
        self.assertEqual(len(self.done_cells("quiet")), 10)
        kills, target = 0, 1
        end = time.monotonic() + DEADLINE
        while kills < 4:
            child = subprocess.Popen(self.command("killed"), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            while child.poll() is None and len(self.done_cells("killed")) < target:
                self.assertLess(time.monotonic(), end, "timed out")
                time.sleep(0.005)  # between two looks at a condition, never instead of one
            if child.poll() is not None:
                break
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills, target = kills + 1, len(self.done_cells("killed")) + 2
        self.assertGreaterEqual(kills, 2)
        self.run_matrix("killed")
        self.assertEqual(self.results("killed"), self.results("quiet"))

    def test_the_report_has_tables_plots_claims_and_hashes(self):
        self.run_matrix("out", "--json")
        html, md = self.read("out", "report.html"), self.read("out", "report.md")
        self.assertNotRegex(html, r"<script|https?:|src=")
        self.assertIn("Tiny &lt;matrix&gt;", html)
        for text in ("bag-of-words", "Training loss", "accuracy against shots", "up to 96.67 %", "holds",
                     "Paired difference", "select likelihood select_all.score", "train.objective=sft"):
            self.assertIn(text, html)
        self.assertGreaterEqual(html.count("<svg"), 3)
        adapter = digest(os.path.join(self.folder, "out", "cells", "pft-seed1", "adapter",
                                      "adapter_model.safetensors"))
        self.assertIn(adapter, html)
        self.assertIn(adapter, md)
        before = digest(os.path.join(self.folder, "out", "report.html"))
        again = self.run_matrix("out")  # nothing is left to be done
        self.assertIn("10 cells, 0 of them to be done", again.stderr)
        self.assertEqual(digest(os.path.join(self.folder, "out", "report.html")), before)

    def test_answers_in_words_are_generated_judged_and_reported(self):
        words = f"--values {ROOT}/configs/values/vcd.yaml --train {starter.TRAIN}"
        self.write("matrix.yaml", MATRIX[:MATRIX.index("variants:")].replace("[0, 1]", "[0]") + f"""
variants:
  - {{name: base, train: false}}
  - {{name: pft}}
evaluations:
  - {{name: generated, args: --readout generated --limit 2, parts: [.unparsed, select_all.unparsed]}}
  - name: open
    command: judge
    before: [generate @model --limit 2 --max-new-tokens 8 --out $CELL/open.json]
    counts: [generate @model --limit 2 --max-new-tokens 8]
    args: $CELL/open.json {words}
    measure: score
    figures: [swap.lower, swap.opposite]
  - {{name: judged, needs: PFT_NO_SUCH_JUDGE, command: judge, args: --base-url $PFT_NO_SUCH_JUDGE}}
""")
        self.run_matrix("out")
        html, results = self.read("out", "report.html"), self.results("out")
        for text in ("generated unparsed", "generated select_all.unparsed", "open words", "open swap.lower"):
            self.assertIn(text, html)
        self.assertEqual({name.split(".")[1] for name in results}, {"train", "generated", "open"})
        self.assertEqual(results["base.open"]["n"], 4)
        self.assertEqual(results["pft-seed0.generated"]["results"][0]["n"], 4)
        measured = json.loads(self.read("out", "measure.json"))
        self.assertGreater(measured["decode_tokens_s"], 0)
        estimate = json.loads(self.run_matrix("out", "--dry-run", "--json").stdout)
        self.assertEqual(estimate["uncounted"], 0)
        for cell in estimate["cells"]:
            self.assertGreater(cell["seconds"], 0, cell)

    def test_what_runs_before_an_evaluation_is_in_the_estimate_once_it_is_counted(self):
        def estimate(out, before, counts):
            self.write("matrix.yaml", MATRIX[:MATRIX.index("variants:")] + f"""
variants:
  - {{name: base, train: false, before: [{before}], counts: [{counts}]}}
evaluations:
  - {{name: select, args: --readout likelihood --limit 6 --fit 0}}
  - {{name: open, command: judge, before: [generate @model --limit 2 --out $CELL/open.json]}}
""")
            return json.loads(self.run_matrix(out, "--dry-run", "--json").stdout)
        before = "capture @model --axis Risk --out $CELL/v.gguf"
        left_out = estimate("left-out", before, "")
        self.assertEqual(left_out["uncounted"], 2)
        self.assertEqual([c["seconds"] for c in left_out["cells"]], [0, 0])
        alone, counted = estimate("alone", "", ""), estimate("counted", before, "--readout likelihood --fit 0 --limit 6")
        self.assertEqual((alone["uncounted"], counted["uncounted"]), (1, 1))
        self.assertEqual(counted["cells"][0]["tokens"], 2 * alone["cells"][0]["tokens"])

    def test_a_dry_run_counts_and_runs_no_cell(self):
        estimate = json.loads(self.run_matrix("dry", "--dry-run", "--json").stdout)
        self.assertEqual(len(estimate["cells"]), 10)
        self.assertEqual(estimate["uncounted"], 0)
        for cell in estimate["cells"]:
            self.assertGreater(cell["tokens"], 0, cell)
            self.assertGreater(cell["seconds"], 0, cell)
            self.assertFalse(cell["done"])
        self.assertEqual(self.done_cells("dry"), set())

    def test_other_settings_are_told_from_those_of_the_folder(self):
        self.run_matrix("out")
        self.write("matrix.yaml", MATRIX.replace("--limit 6", "--limit 5"))
        again = self.run_matrix("out")
        self.assertIn("4 of them to be done", again.stderr)  # the evaluations that changed
        self.write("matrix.yaml", MATRIX.replace("sft.side: a", "sft.side: b"))
        refused = self.run_matrix("out", code=3)
        self.assertIn("was trained with other settings", refused.stderr)

    def test_what_a_file_says_counts_and_how_its_path_was_typed_does_not(self):
        shutil.copy(starter.TEST, os.path.join(self.folder, "test.json"))
        self.write("run.yaml", RUN.replace(starter.TEST, f"{self.folder}/test.json"))
        self.write("matrix.yaml", MATRIX[:MATRIX.index("  - {name: history")].replace("[0, 1]", "[0]"))
        self.run_matrix("out")
        self.write("run.yaml", "# nothing else\n" + self.read("run.yaml"))
        self.config = os.path.join(self.folder, "..", os.path.basename(self.folder), "matrix.yaml")
        self.assertIn(" 0 of them to be done", self.run_matrix("out").stderr)
        scenarios = json.loads(self.read("test.json"))
        self.write("test.json", json.dumps(scenarios[1:] + scenarios[:1]))
        self.assertIn(" 3 of them to be done", self.run_matrix("out").stderr)  # no training
        self.write("run.yaml", self.read("run.yaml").replace("train: {max", "train: {learning_rate: 0.01, max"))
        refused = self.run_matrix("out", code=3)
        self.assertIn("was trained with other settings", refused.stderr)

    def test_an_evaluation_that_was_begun_with_other_settings_is_begun_anew(self):
        small = MATRIX[:MATRIX.index("  - {name: sft-a")]
        small += MATRIX[MATRIX.index("evaluations:"):MATRIX.index("  - {name: history")]
        self.write("matrix.yaml", small.replace("parts", "variants: [base], parts"))
        child = subprocess.Popen(self.command("out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + DEADLINE
        begun = os.path.join(self.folder, "out", "work", "base.select.eval", "run.db")
        while not os.path.exists(begun) and child.poll() is None:
            self.assertLess(time.monotonic(), end, "timed out")
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.assertTrue(os.path.exists(begun), "it was over before it could be killed")
        self.write("matrix.yaml", small.replace("--fit 4", "--fit 4 --set unit_tokens=200"))
        self.run_matrix("out")
        self.assertFalse(os.path.exists(os.path.dirname(begun)))

    def test_wrong_matrices_are_refused_before_anything_starts(self):
        self.write("matrix.yaml", MATRIX.replace("sft.side: a", "sft.sde: a"))
        done = self.run_matrix("out", code=1)
        self.assertRegex(done.stderr, re.escape(self.config) + r":8: variant 'sft-a': .*sft\.sde")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out")))

    def test_two_batches_do_not_share_a_folder(self):
        child = subprocess.Popen(self.command("out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + DEADLINE
        while not os.path.exists(os.path.join(self.folder, "out", "logs", "measure.log")):
            self.assertIsNone(child.poll())
            self.assertLess(time.monotonic(), end, "timed out")
            time.sleep(0.005)
        done = self.run_matrix("out", code=3)
        self.assertIn("another pft reproduce works there", done.stderr)
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(timeout=DEADLINE), 130)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
