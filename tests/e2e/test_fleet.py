"""A fleet end to end: real programs, the committed tiny model, the starter data. Standard library only.

One SHA-256 of the adapter whatever happened on the way: 1, 2 and 4 workers; a worker killed and
another added; the coordinator killed and resumed; SIGTERM in between. And what must be refused.
Every wait is for a condition with a deadline.
"""
import json
import os
import signal
import sys
import unittest

from fleet import BIN, MODEL, OTHER_MODEL, ROOT, STEPS, KILLS, FleetCase, wait_for
import starter


class Fleet(FleetCase):
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
        self.assertEqual(first.end(), -signal.SIGKILL)
        wait_for("the dead worker to be noticed", lambda: not coordinator.running() or
                 "first" not in [w["id"] for w in (self.status() or {"workers": []})["workers"]])
        self.worker("third")
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_a_worker_told_to_stop_leaves_politely_in_the_middle(self):
        coordinator = self.coordinator()
        first = self.worker("first")
        wait_for("3 steps", lambda: self.committed(3))
        first.send(signal.SIGTERM)
        self.assertEqual(first.end(), 0, first.text())
        wait_for("its goodbye to be read", lambda: "worker_left" in coordinator.text())
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
        self.assertEqual(set(status), {"schema", "run", "task", "state", "text", "step", "loss", "kl",
                                       "pairs_per_s", "tokens_per_s", "eta_s", "units",
                                       "utilisation", "useful_slots", "refused", "workers", "audit"})
        self.assertEqual((status["task"], status["state"]), ("train", "running"))
        self.assertEqual(status["step"]["total"], STEPS)
        self.assertGreater(status["useful_slots"], 1)
        self.assertEqual(status["audit"], {"confirmed": 0, "unconfirmed": 0, "suspects": None})
        self.assertEqual(set(status["workers"][0]), {
            "id", "host", "slots", "state", "units_done", "tokens_per_s", "last_heard_ms",
            "core_type", "strikes", "utilisation"})
        for busy in (status["utilisation"], status["workers"][0]["utilisation"]):
            self.assertTrue(busy is None or 0.0 < busy <= 1.0, busy)
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5)

    def test_an_evaluation_alone_prints_its_result(self):
        coordinator = self.coordinator()
        self.worker("trainer")
        self.finish(coordinator)
        out = os.path.join(self.folder, "eval")
        scored = self.start("eval", "pft-coordinator", "--eval-only", "--from", self.run_folder,
                            "--out", out, "--set", f"data.test={starter.TEST}",
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
            self.assertIn("pft keys init", open_bind.text())

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
                             f"data.train={starter.TEST}", "--set", "lora.r=4")
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
