"""pft infer and the trials on simulated users end to end: real programs, the committed tiny model, the
starter data. Standard library only.
"""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from fleet import BIN, MODEL, ROOT, SLOW
import starter

DEADLINE = 300 if SLOW else 90

CONFIG = f"""
model.path: {MODEL}
data:
  train: {starter.TRAIN}
  test: {starter.TEST}
  values: {ROOT}/configs/values/vcd.yaml
  hold_out: 40
train:
  max_steps: 3
  batch_groups: 4
  seed: 7
unit_tokens: 300
eval.before: false
"""

BROKEN = [  # content of a history, exit code, what the message must hold
    ("[", 1, "history.json"),
    ("[]", 1, "no items"),
    ('[{"options": ["a", "b"], "choice": 0}]', 1, "field 'scenario' is missing"),
    ('[{"scenario": "s", "options": ["a"], "choice": 0}]', 1, "2 to 64 are possible"),
    ('[{"scenario": "s", "options": "a, b", "choice": 0}]', 1, "expected a list of texts"),
    ('[{"scenario": "s", "options": ["a", 7], "choice": 0}]', 1, "option 2: expected a text"),
    ('[{"scenario": "s", "options": ["a", "b"], "choice": 2}]', 1, "0 to 1, or its text"),
    ('[{"scenario": "s", "options": ["a", "b"], "choice": "c"}]', 1, "found 'c'"),
    ('[{"scenario": "s", "options": ["a", "b"], "choice": null}]', 1, "found null"),
    ('[{"scenario": "s", "options": ["a", "b"]}]', 3, "the item has no 'choice'"),
    ('[{"scenario": "s", "preference domain": "Risk Orientatoin", "options": ["a", "b"], "choice": 1}]',
     1, "Risk Orientation"),
]


class Infer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="pft-infer-test-")
        cls.run_folder = os.path.join(cls.folder, "run")
        cls.config = cls.write("config.yaml", CONFIG)
        done = cls.pft("run", cls.config, "--out", cls.run_folder, "--workers", "1")
        if done.returncode != 0:
            raise AssertionError(done.stderr[-3000:])
        with open(starter.TEST, encoding="utf-8") as f:
            cls.items = json.load(f)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def write(cls, name, content):
        path = os.path.join(cls.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(content if isinstance(content, str) else json.dumps(content))
        return path

    @classmethod
    def pft(cls, *args):
        return subprocess.run([os.path.join(BIN, "pft"), *args], capture_output=True, text=True,
                              timeout=DEADLINE, check=False)

    def json_of(self, *args):
        done = self.pft(*args, "--json")
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return json.loads(done.stdout)

    def infer(self, history, *args):
        return self.json_of("infer", self.run_folder, "--history", history, *args)

    def test_a_history_gives_a_posterior_and_calibrates_the_run_once(self):
        plain = [{"scenario": i["scenario"], "options": [o["text"] for o in i["options"]],
                  "choice": n % 2} for n, i in enumerate(self.items[:4])]
        history = self.write("plain.json", plain)
        found = self.infer(history)
        self.assertAlmostEqual(sum(found["values"].values()), 1.0, places=4)
        self.assertEqual(len(found["values"]), 12)
        self.assertTrue(found["calibrated"])
        for axis in found["axes"].values():
            self.assertEqual(axis["choices"], 4)  # no item says which axis it is about
            self.assertAlmostEqual(sum(axis["shares"].values()), 1.0, places=4)
            self.assertAlmostEqual(axis["lambda"], list(axis["shares"].values())[0], places=6)
        kept = os.path.join(self.run_folder, "inference.json")
        before = os.stat(kept).st_mtime_ns
        backwards = self.infer(self.write("backwards.json", plain[::-1]))
        self.assertEqual(os.stat(kept).st_mtime_ns, before)
        for name, share in found["values"].items():
            self.assertAlmostEqual(share, backwards["values"][name], places=5)

    def test_items_with_values_speak_about_their_axis_and_a_pool_names_the_next_question(self):
        axis = self.items[0]["preference domain"]
        own = [i for i in self.items if i["preference domain"] == axis]
        history = self.write("vcd.json", [dict(own[0], choice=own[0]["options"][1]["text"])])
        found = self.infer(history, "--pool", self.write("pool.json", self.items[1:6]),
                           "--temperature", "5")
        self.assertEqual({a: v["choices"] for a, v in found["axes"].items()},
                         {a: int(a == axis) for a in found["axes"]})
        self.assertFalse(found["calibrated"])
        self.assertIn(found["next"]["item"], range(5))
        self.assertGreaterEqual(found["next"]["information"]["bits"], 0.0)
        self.assertNotEqual(found["next"]["scenario"], own[0]["scenario"])
        self.assertEqual(found["next"]["scenario"], self.items[1 + found["next"]["item"]]["scenario"])
        alone = self.infer(history, "--axis", axis, "--temperature", "5")
        self.assertEqual(list(alone["axes"]), [axis])
        self.assertEqual(len(alone["values"]), 2)

    def test_a_calibration_says_whether_the_adapter_was_trained_on_its_scenarios(self):
        train = starter.TRAIN
        test = starter.TEST
        for words, says, n in [(["--data", test], f"calibrating on {test}\n", 24),
                               ([], f"calibrating on {train}, the scenarios that were held out", 40),
                               (["--data", os.path.relpath(train)], "the scenarios that were held out", 40)]:
            done = self.pft("infer", self.run_folder, "--calibrate", *words)
            self.assertIn(says, done.stderr)
            with open(os.path.join(self.run_folder, "inference.json"), encoding="utf-8") as f:
                self.assertEqual(json.load(f)["scenarios"], n)
        self.pft("infer", self.run_folder, "--calibrate", "--data", test)
        asked = ["eval", self.run_folder, "--readout", "history", "--users", "5", "--shots", "1", "--json"]
        tried = self.pft(*asked)
        self.assertIn("the file that is tried", tried.stderr)
        self.assertEqual(json.loads(tried.stdout)["calibrated_on"], {"data": test, "scenarios": 24})
        self.assertNotIn("the file that is tried", self.pft(*asked, "--calibrate").stderr)

    def test_a_run_that_holds_every_scenario_out_is_refused(self):
        done = self.pft("run", self.config, "--set", "data.hold_out=96",
                        "--out", os.path.join(self.folder, "nothing"))
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("data.hold_out: 96 leaves none of the 96 scenarios", done.stderr)

    def test_what_was_answered_is_not_asked_again(self):
        history = self.write("asked.json", [dict(self.items[0], choice=0)])
        pool = self.write("pool.json", [self.items[0], self.items[1]])
        self.assertEqual(self.infer(history, "--pool", pool, "--temperature", "5")["next"]["item"], 1)
        done = self.pft("infer", self.run_folder, "--history", history, "--pool",
                        self.write("pool.json", [self.items[0]]), "--temperature", "5")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("answered in the history already", done.stderr)

    def test_the_posterior_drives_the_mix_of_an_answer(self):
        axis = self.items[0]["preference domain"]
        history = self.write("drives.json", [dict(self.items[0], choice=0)])
        found = self.infer(history, "--temperature", "5")
        vector = self.write("vector.json", found)
        words = ["generate", self.run_folder, "--prompt", "What now?", "--max-new-tokens", "12"]
        self.assertEqual(self.json_of(*words, "--mix", axis, "--inferred", vector),
                         self.json_of(*words, "--mix", f"{axis}={found['axes'][axis]['lambda']}"))
        for args, code, said in [
                (["--mix", axis], 2, "--inferred FILE"),
                (["--inferred", vector], 2, "--mix AXIS"), (["--mix", f"{axis}=1", "--inferred", vector], 2, "--mix AXIS"),
                (["--mix", "Risk", "--inferred", vector], 2, "Risk Orientation"),
                (["--mix", axis, "--inferred", os.path.join(self.folder, "none.json")], 1, "none.json"),
                (["--mix", axis, "--inferred", history], 1, "drives.json"),
                (["--mix", axis, "--inferred", self.write("empty.json", {"axes": {}})], 1, "another axis")]:
            with self.subTest(args):
                done = self.pft(*words, *args)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(said, done.stderr)

    def test_a_prior_that_rules_a_value_out_keeps_it_out(self):
        axis = self.items[0]["preference domain"]
        poles = sorted({o["bias"] for i in self.items for o in i["options"]
                        if i["preference domain"] == axis})
        history = self.write("prior.json", [dict(self.items[0], choice=0)])
        found = self.infer(history, "--prior", f"{poles[0]}=0", "--temperature", "5")
        self.assertEqual(found["values"][poles[0]], 0.0)
        self.assertEqual(found["axes"][axis]["shares"][poles[1]], 1.0)

    def test_broken_histories_are_refused_by_name_before_anything_starts(self):
        for content, code, words in BROKEN:
            with self.subTest(content):
                done = self.pft("infer", self.run_folder, "--history",
                                self.write("history.json", content))
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertIn("history.json", done.stderr)
        for args, words in [(["--forget", "0"], "--forget"), (["--forget", "1.5"], "at most 1"),
                            (["--axis", "Risk"], "Risk"), (["--scores", "letter"], "contrast and"),
                            (["--prior", "Nobody=1"], "Nobody"),
                            (["--prior", "Risk-taking=0,Risk-averse=0"], "both values of the axis"), (["--data", "x"], "--calibrate"),
                            (["--temperature", "-1"], "--temperature")]:
            with self.subTest(args):
                done = self.pft("infer", self.run_folder, "--history",
                                self.write("history.json", [dict(self.items[0], choice=0)]), *args)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, done.stderr)
        self.assertEqual(self.pft("infer", self.run_folder).returncode, 2)

    def test_trials_are_the_same_for_any_number_of_workers_and_go_on_in_their_folder(self):
        asked = ["eval", self.run_folder, "--task", "history", "--readout", "inferred", "--users",
                 "20", "--shots", "0,1,2"]
        kept = ["--out", os.path.join(self.folder, "kept")]
        one = self.json_of(*asked, "--workers", "1", *kept)
        self.assertEqual(one, self.json_of(*asked, "--workers", "2"))
        short = ["eval", self.run_folder, "--readout", "history", *asked[6:]]
        self.assertEqual(one, self.json_of(*short))
        self.assertEqual(one, self.json_of(*asked, "--workers", "1", *kept))
        self.assertEqual([s["k"] for s in one["shots"]], [0, 1, 2])
        self.assertEqual(one["shots"][0]["inferred"]["share"], 0.5)
        self.assertIsNotNone(one["shots"][1]["all_values"])
        self.assertGreater(one["bag_of_words"]["shots"][1]["n"], 0)
        self.assertNotEqual(one["shots"][1], self.json_of(*asked, "--seed", "5")["shots"][1])
        table = self.pft(*asked)
        self.assertEqual(table.returncode, 0, table.stderr)
        self.assertIn("bag-of-words", table.stdout)

    def test_the_wrong_words_for_trials_are_refused(self):
        for args, words in [(["--shots", "3,1"], "--shots"), (["--shots", ""], "--shots"),
                            (["--users", "0"], "--users"), (["--task", "select"], "--task history")]:
            with self.subTest(args):
                done = self.pft("eval", self.run_folder, "--task", "history", "--readout",
                                "inferred", *args)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
