"""scripts/plan-check on the committed tiny model: real runs leave costs that pft plan can use. No time is
judged here, since steps of the tiny model are milliseconds and the machine may be busy."""
import json
import os
import subprocess
import tempfile
import unittest

from fleet import BIN, ROOT
import starter


CONFIG = f"""
model: {{path: {ROOT}/tests/golden/tiny}}
data: {{train: {starter.TRAIN}, values: {ROOT}/configs/values/vcd.yaml}}
train: {{batch_groups: 8}}
"""


class PlanCheck(unittest.TestCase):
    def test_real_runs_of_one_and_two_workers_stand_beside_their_predictions(self):
        with tempfile.TemporaryDirectory(prefix="pft-plan-") as folder:
            config = os.path.join(folder, "tiny.yaml")
            with open(config, "w", encoding="utf-8") as f:
                f.write(CONFIG)
            figures = os.path.join(folder, "figures.json")
            done = subprocess.run([os.path.join(ROOT, "scripts", "plan-check"), BIN, config],
                                  env={**os.environ, "STEPS": "4", "JSON": figures,
                                       "OUT": os.path.join(folder, "runs")},
                                  text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            with open(figures, encoding="utf-8") as f:
                found = json.load(f)
            for case in ("1", "2", "2 from 1"):
                self.assertEqual(len(found[case]["predicted_s"]), 3)
                self.assertEqual(len(found[case]["measured_s"]), 3)
                self.assertTrue(all(s > 0 for s in found[case]["predicted_s"]))
            self.assertGreater(found["cost_s"]["1"], 0)
            done = subprocess.run([os.path.join(BIN, "pft"), "plan", config, "--from",
                                   os.path.join(folder, "runs", "workers-2"), "--workers", "1,2"],
                                  text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("from steps 1 to 3 of", done.stdout)
            self.assertIn("on 2 slots", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=1)
