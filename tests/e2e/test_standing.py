"""A standing coordinator end to end: tasks submitted, done one after another, cancelled, killed in
between. The adapters are those of plain runs, bit for bit. Standard library only."""
import json
import os
import signal
import subprocess
import sys
import unittest

from fleet import BIN, MODEL, OTHER_MODEL, ROOT, FleetCase, wait_for
import starter


class Standing(FleetCase):
    other = None  # SHA-256 of the adapter of a quiet run with seed 8

    def setUp(self):
        super().setUp()
        self.dir = os.path.join(self.folder, "fleet")

    def serve(self, *args, name="fleet"):
        child = self.start(name, "pft-coordinator", "--serve", self.dir, *args)

        def serving():
            if not child.running():
                raise AssertionError(f"the coordinator ended:\n{child.text()[-3000:]}")
            return self.address(self.dir).get("pid") == child.process.pid
        wait_for("address.json", serving)
        return child

    def pft(self, *words, to=None):
        return subprocess.run([os.path.join(BIN, "pft"), *words, "--to", to or self.dir], cwd=self.folder,
                              capture_output=True, text=True, check=False)

    def submit(self, *words):
        done = self.pft("submit", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(done.stdout)

    def jobs(self):
        done = self.pft("jobs", "--json")
        return {t["id"]: t for t in json.loads(done.stdout)} if done.returncode == 0 else {}

    def task(self, number):
        return os.path.join(self.dir, "tasks", str(number))

    def ended(self, number, state="finished", patience=1):
        for i in range(patience):  # a sanitizer needs several deadlines for several tasks
            try:
                job = wait_for(f"task {number}", lambda: (lambda t: t if t and t["ended"] else None)
                               (self.jobs().get(number)))
                break
            except AssertionError:
                if i == patience - 1:
                    raise
        self.assertEqual(job["state"], state, job["text"])
        return job

    def workers(self, *names, model=MODEL, key=None):
        jobs = self.address(self.dir)["jobs"]
        words = ["--key", key] if key else []
        return [self.worker(name, *words, model=model, address=jobs) for name in names]

    def worker_state(self, name):
        status = self.status(self.dir) or {"workers": []}
        return next((w["state"] for w in status["workers"] if w["id"] == name), None)

    def quiet_other(self):
        """The adapter of a plain run with another seed."""
        if Standing.other is None:
            run = os.path.join(self.folder, "quiet-other")
            done = self.start("other", "pft", "run", self.config, "--workers", "1", "--out", run, "--set",
                              "train.seed=8")
            self.assertEqual(done.end(), 0, done.text()[-3000:])
            Standing.other = self.adapter(run)
        return Standing.other

    def step(self, number, steps):
        """True once task `number` runs and has so many steps on disk."""
        status = self.status(self.dir)
        return status and status["run"].endswith(f"/tasks/{number}") and \
            status["step"]["committed"] >= steps

    def stop(self, fleet, code):
        fleet.send(signal.SIGTERM)
        self.assertEqual(fleet.end(), code, fleet.text()[-3000:])

    def test_two_tasks_on_two_workers_make_the_adapters_of_plain_runs(self):
        fleet = self.serve()
        workers = self.workers("a", "b")
        wait_for("both to wait", lambda: self.worker_state("a") == self.worker_state("b") == "waiting")
        self.assertEqual(self.status(self.dir)["state"], "waiting")
        first = self.submit("config.yaml")  # a relative path, resolved where it is said
        second = self.submit(self.config, "--set", "train.seed=8", "--name", "other seed")
        self.assertEqual((first, second), (1, 2))
        self.ended(2, patience=3)
        self.ended(1)
        self.assertEqual(self.adapter(self.task(1)), self.quiet())
        self.assertEqual(self.adapter(self.task(2)), self.quiet_other())
        jobs = self.jobs()
        self.assertEqual((jobs[1]["name"], jobs[2]["name"]), ("config", "other seed"))
        self.assertLessEqual(jobs[1]["ended"], jobs[2]["started"])
        self.assertEqual((jobs[1]["text"], jobs[2]["text"]), ("", ""))
        wait_for("both to wait again",
                 lambda: self.worker_state("a") == self.worker_state("b") == "waiting")
        self.assertTrue(all(w.running() for w in workers))
        log = self.pft("logs", "1")
        self.assertIn("step=0 ", log.stdout)
        self.assertNotIn("task_begins task=2", log.stdout)
        self.assertIn("# ", self.pft("logs", "1", "--result").stdout)
        for w in workers:
            w.send(signal.SIGTERM)
            self.assertEqual(w.end(), 0, w.text()[-2000:])
        self.stop(fleet, 0)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "address.json")))

    def test_an_evaluation_of_a_task_and_of_a_run_wait_their_turn(self):
        quiet = os.path.join(self.folder, "plain")
        plain = self.start("plain", "pft", "run", self.config, "--workers", "1", "--out", quiet, "--set",
                           "train.max_steps=3")
        self.assertEqual(plain.end(), 0, plain.text())
        data = starter.TEST
        self.serve()
        self.workers("a")
        trained = self.submit(self.config, "--set", "train.max_steps=3")
        of_task = self.submit("eval", str(trained), "--data", data, "--readout", "contrast")
        of_run = self.submit("eval", quiet, "--data", data, "--readout", "contrast")
        bare = self.submit("eval", "--model", MODEL, "--data", data, "--values",
                           f"{ROOT}/configs/values/vcd.yaml")
        self.ended(bare, patience=3)
        results = []
        for number in (of_task, of_run, bare):
            self.ended(number)
            shown = self.pft("logs", str(number), "--result")
            self.assertEqual(shown.returncode, 0, shown.stderr)
            results.append(json.loads(shown.stdout))
        self.assertEqual(results[0]["n_scenarios"], 24)
        self.assertEqual(results[0], results[1])  # the same adapter, bit for bit
        direct = subprocess.run([os.path.join(BIN, "pft"), "eval", quiet, "--data", data, "--json",
                                 "--workers", "1"], capture_output=True, text=True, check=False)
        del results[0]["results"][0]["questions"]  # pft eval leaves these three out
        del results[0]["results"][0]["margins"]
        del results[0]["results"][0]["select_all"]["scores"]
        self.assertEqual([json.loads(direct.stdout)], results[0]["results"])

    def test_a_task_that_scores_a_reference_first_makes_the_adapter_of_a_plain_run(self):
        sets = ["--set", "train.objective=dpo", "--set", "train.max_steps=3"]
        run = os.path.join(self.folder, "plain")
        plain = self.start("plain", "pft", "run", self.config, "--workers", "1", "--out", run, *sets)
        self.assertEqual(plain.end(), 0, plain.text())
        self.serve()
        self.worker("team", "--threads", "2", address=self.address(self.dir)["jobs"])
        first = self.submit(self.config, *sets)
        other = self.submit(self.config, "--set", "train.max_steps=3")
        again = self.submit(self.config, *sets)
        self.ended(again, patience=3)
        self.assertEqual(self.adapter(self.task(first)), self.adapter(run))
        self.assertEqual(self.adapter(self.task(again)), self.adapter(run))
        self.assertNotEqual(self.adapter(self.task(other)), self.adapter(run))

    def test_a_task_can_be_cancelled_before_and_while_it_runs(self):
        self.serve()
        self.workers("a")
        long = self.submit(self.config, "--set", "train.max_steps=5000", "--set", "train.epochs=1000")
        waiting = self.submit(self.config, "--set", "data.system=" + "Be brief. " * 900)  # a large order
        last = self.submit(self.config)
        wait_for("two steps", lambda: self.step(long, 2))
        gone = self.pft("cancel", str(waiting))
        self.assertEqual((gone.returncode, gone.stdout), (0, f"task {waiting} is cancelled\n"))
        self.assertEqual(self.pft("cancel", str(long)).returncode, 0)
        self.ended(last, patience=2)
        self.ended(long, "cancelled")
        self.ended(waiting, "cancelled")
        self.assertEqual(self.adapter(self.task(last)), self.quiet())
        self.assertFalse(os.path.exists(os.path.join(self.task(waiting), "run.db")))
        self.assertFalse(os.path.exists(os.path.join(self.task(long), "report.md")))
        late = self.pft("cancel", str(last))
        self.assertEqual(late.returncode, 3)
        self.assertIn("finished already", late.stderr)
        with open(os.path.join(self.task(waiting), "config.yaml"), encoding="utf-8") as f:
            self.assertEqual(f.read().count("Be brief."), 900)
        nothing = self.pft("logs", str(waiting), "--follow")
        self.assertEqual(nothing.returncode, 1)
        self.assertIn("cancelled, there is nothing to read", nothing.stderr)

    def killed_before_the_list_said_finished(self, number):
        """The list as a kill between a task's result and the next save leaves it; steps in its log."""
        path = os.path.join(self.dir, "tasks.json")
        with open(path, encoding="utf-8") as f:
            saved = json.load(f)
        saved["tasks"][number - 1].update(state="running", ended=0)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(saved, f)
        with open(os.path.join(self.task(number), "task.log"), encoding="utf-8") as f:
            return f.read().count(" step ")

    def test_killed_while_idle_while_it_runs_and_between_tasks_it_goes_on(self):
        fleet = self.serve()
        workers = self.workers("a", "b")
        fleet.send(signal.SIGKILL)
        fleet.end()
        fleet = self.serve(name="fleet-2")
        first = self.submit(self.config)
        second = self.submit(self.config, "--set", "train.seed=8")
        for kill, steps in enumerate((1, 4)):
            wait_for(f"{steps} steps", lambda s=steps: self.step(first, s))
            fleet.send(signal.SIGKILL)
            fleet.end()
            fleet = self.serve(name=f"fleet-{3 + kill}")
        self.ended(first, patience=2)
        fleet.send(signal.SIGKILL)  # between the two, or as the second is opened
        fleet.end()
        fleet = self.serve(name="fleet-5")
        self.ended(second, patience=2)
        self.assertEqual(self.adapter(self.task(first)), self.quiet())
        self.assertEqual(self.adapter(self.task(second)), self.quiet_other())
        report = os.stat(os.path.join(self.task(first), "report.md")).st_mtime_ns
        fleet.send(signal.SIGKILL)
        fleet.end()
        said = self.killed_before_the_list_said_finished(second)
        fleet = self.serve(name="fleet-6")
        self.ended(second)
        with open(os.path.join(self.task(second), "task.log"), encoding="utf-8") as f:
            self.assertEqual(f.read().count(" step "), said)
        self.assertEqual([t["state"] for t in self.jobs().values()], ["finished", "finished"])
        third = self.submit(self.config, "--set", "train.max_steps=2")
        self.assertEqual(third, 3)
        self.ended(third)
        self.assertEqual(os.stat(os.path.join(self.task(first), "report.md")).st_mtime_ns, report)
        self.assertTrue(all(w.running() for w in workers))

    def test_told_to_stop_in_the_middle_it_goes_on_at_the_next_start(self):
        fleet = self.serve()
        self.workers("a")
        first = self.submit(self.config)
        wait_for("three steps", lambda: self.step(first, 3))
        self.stop(fleet, 5)
        with open(os.path.join(self.dir, "tasks.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["tasks"][0]["state"], "running")
        self.serve(name="again")
        self.ended(first, patience=2)
        self.assertEqual(self.adapter(self.task(first)), self.quiet())

    def test_a_worker_with_another_model_waits_for_a_task_of_its_own(self):
        self.serve()
        tiny, untied = self.workers("tiny")[0], self.workers("untied", model=OTHER_MODEL)[0]
        first = self.submit(self.config)
        wait_for("the other one to be seen", lambda: self.worker_state("untied") == "unfit")
        second = self.submit(self.config, "--set", f"model.path={OTHER_MODEL}", "--set",
                             "train.max_steps=3")
        self.ended(first, patience=2)
        self.ended(second)
        self.assertEqual(self.adapter(self.task(first)), self.quiet())
        self.assertTrue(tiny.running() and untied.running())

    def test_a_task_that_cannot_be_done_fails_alone(self):
        fleet = self.serve()
        self.workers("a")
        broken = os.path.join(self.folder, "broken.json")
        with open(broken, "w", encoding="utf-8") as f:
            f.write("[")
        bad = self.submit(self.config, "--set", f"data.train={broken}")
        good = self.submit(self.config, "--set", "train.max_steps=2")
        self.ended(good)
        self.assertIn("broken.json", self.ended(bad, "failed")["text"])
        unknown = self.submit("eval", "99", "--data", starter.TEST)
        self.ended(unknown, "failed")
        for words, code, said in (
                (["submit", self.config, "--set", "lora.r=0"], 1, "lora.r"),
                (["submit"], 2, "CONFIG"), (["submit", "eval"], 2, "RUN"),
                (["cancel", "77"], 1, "no task 77"), (["cancel", "x"], 2, "number"),
                (["logs", "77"], 1, "no such task")):
            done = self.pft(*words)
            self.assertEqual(done.returncode, code, (words, done.stderr))
            self.assertIn(said, done.stderr)
        second = self.start("second", "pft-coordinator", "--serve", self.dir)
        self.assertEqual(second.end(), 3)
        self.assertIn("another coordinator", second.text())
        status = subprocess.run([os.path.join(BIN, "pft"), "status", self.dir], capture_output=True,
                                text=True, check=False)
        self.assertIn("none, waiting", status.stdout)
        self.assertEqual(self.start("both", "pft-coordinator", self.config, "--serve", self.dir).end(), 2)
        self.stop(fleet, 0)
        self.assertIn("--serve", self.pft("jobs").stderr)

    def test_over_tcp_the_list_can_be_read_and_not_changed(self):
        self.serve("--bind", "tcp://127.0.0.1:*", "--status", "tcp://127.0.0.1:*")
        for words in (["submit", self.config], ["cancel", "1"]):
            done = self.pft(*words)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("ipc socket", done.stderr)
        self.assertEqual(self.pft("jobs", "--json").stdout, "[]\n")
        run = self.start("run", "pft-coordinator", self.config, "--out", self.run_folder)
        wait_for("the run", lambda: self.address().get("pid") == run.process.pid)
        no_list = self.pft("jobs", to=self.run_folder)
        self.assertEqual(no_list.returncode, 3)
        self.assertIn("--serve", no_list.stderr)

    def command(self, *words):
        return subprocess.run([os.path.join(BIN, "pft"), *words], cwd=self.folder, capture_output=True,
                              text=True, check=False)

    def key(self, name, role):
        made = self.command("keys", "add", "keys", name, "--role", role)
        self.assertEqual(made.returncode, 0, made.stderr)
        return os.path.join(self.folder, "keys", f"{name}.key")

    def test_with_keys_an_operator_orders_an_observer_looks_and_a_worker_waits(self):
        self.assertEqual(self.command("keys", "init", "keys").returncode, 0)
        node, watcher, boss = self.key("node", "worker"), self.key("watcher", "observer"), self.key("boss", "operator")
        fleet = self.serve("--keys", "keys", "--bind", "tcp://127.0.0.1:*", "--status", "tcp://127.0.0.1:*")
        self.assertIn("closed_to_strangers sockets=3", fleet.text())
        address = self.address(self.dir)["status"]

        def pft(*words, key=None):
            return self.pft(*words, *(["--key", key] if key else []), to=address)

        def states():
            told = pft("jobs", "--json", key=watcher)
            self.assertEqual(told.returncode, 0, told.stderr)
            return {t["id"]: t["state"] for t in json.loads(told.stdout)}
        for words in (["submit", self.config], ["cancel", "1"]):
            for key, says in ((watcher, "only an operator"), (node, "does not let key 'node'"),
                              (None, "asks for a key")):
                done = pft(*words, key=key)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn(says, done.stderr)
        self.assertIn("command submit by=observer key=watcher", fleet.text())
        for words in (["jobs"], ["logs", "1"]):
            self.assertEqual(pft(*words).returncode, 3)
            self.assertEqual(pft(*words, key=node).returncode, 3)
        self.assertEqual(states(), {})
        worker, = self.workers("w", key=node)
        # A large order, encrypted: longer than the frame bound of a status without tasks.
        endless = ["--set", "train.max_steps=5000", "--set", "train.epochs=1000"]
        long = ["--set", "data.system=" + "Be brief. " * 900]
        for number, words in enumerate(([], endless, long), 1):
            done = pft("submit", self.config, *words, key=boss)
            self.assertEqual((done.returncode, done.stdout), (0, f"{number}\n"), done.stderr)
        gone = pft("cancel", "3", key=boss)
        self.assertEqual(gone.stdout, "task 3 is cancelled\n", gone.stderr)
        wait_for("the first task", lambda: states()[1] == "finished")
        self.assertEqual(self.adapter(self.task(1)), self.quiet())
        self.assertIn("step=0 ", pft("logs", "1", key=watcher).stdout)
        self.assertIn("# ", pft("logs", "1", "--result", key=watcher).stdout)
        self.assertEqual(pft("cancel", "2", key=boss).returncode, 0)
        wait_for("no task", lambda: '"state":"waiting","text"' in self.command(
            "status", address, "--json", "--key", watcher).stdout)
        wait_for("it to wait", lambda: '"state":"waiting","units_done"' in self.command(
            "status", address, "--json", "--key", watcher).stdout)
        # The doors are the coordinator's, not the task's: between two tasks a key still counts.
        stranger, = self.workers("plain")
        self.assertEqual(self.command("keys", "revoke", "keys", "node").returncode, 0)
        self.assertEqual(worker.end(), 3, worker.text())
        wait_for("the stranger to be turned away", lambda: "asks for a key" in stranger.text())
        self.assertEqual(self.command("stop", address, "--key", watcher).returncode, 3)
        self.assertIn("stopping", self.command("stop", address, "--key", boss).stdout)
        self.assertEqual(fleet.end(), 0, fleet.text()[-3000:])
        self.assertNotIn("plain", fleet.text())

    def test_workers_that_wait_and_that_work_are_drained_and_the_coordinator_stopped(self):
        fleet = self.serve()
        idle, = self.workers("idle")
        wait_for("it to wait", lambda: self.worker_state("idle") == "waiting")
        self.assertIn("no worker is named x", self.command("drain", self.dir, "x").stderr)
        self.assertIn("1 worker is", self.command("drain", self.dir, "idle").stdout)
        self.assertEqual(idle.end(), 0, idle.text())
        self.assertIsNone(self.worker_state("idle"))
        busy, other = self.workers("busy"), self.workers("other", model=OTHER_MODEL)
        self.submit(self.config, "--set", "train.max_steps=5000", "--set", "train.epochs=1000")
        wait_for("two steps", lambda: self.step(1, 2))
        wait_for("the other one", lambda: self.worker_state("other") == "unfit")
        self.assertIn("2 workers are", self.command("drain", self.dir).stdout)
        self.assertEqual([w.end() for w in busy + other], [0, 0], busy[0].text())
        self.assertIn("stopping", self.command("stop", self.dir).stdout)
        self.assertEqual(fleet.end(), 5, fleet.text()[-3000:])


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
