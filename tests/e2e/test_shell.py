"""The programs in ordinary shells: closed standard streams, a full stdout, --out on what is no regular
file, a parent that dies. Standard library only; every wait is for a condition."""
import fcntl
import glob
import json
import os
import pty
import shutil
import signal
import stat
import struct
import subprocess
import termios
import time
import unittest

from fleet import BIN, FleetCase, MODEL, OTHER_MODEL, ROOT, SLOW, wait_for
import starter

VALUES = os.path.join(ROOT, "configs", "values", "vcd.yaml")
DATA = starter.TEST
TRAIN = starter.TRAIN
TIMEOUT = 300 if SLOW else 60
PFT = os.path.join(BIN, "pft")
LONG = ["--set", "train.max_steps=100000", "--set", "train.epochs=100000"]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
            return [int(word) for word in f.read().split()]
    except FileNotFoundError:
        return []


class ShellCase(FleetCase):
    def shell(self, line, *args, **more):
        """`line` in sh with "$@" = args, in the test's folder."""
        return subprocess.run(["sh", "-c", line, "sh", *args], cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False, **more)

    def write(self, name, value):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(value if isinstance(value, str) else json.dumps(value))
        return path


class Streams(ShellCase):
    def test_a_closed_standard_stream_stops_no_run(self):
        for i, closed in enumerate(("<&-", ">&-", "2>&-", "<&- >&- 2>&-")):
            ended = self.shell(f'"$@" {closed}', PFT, "run", self.config, "--set", "train.max_steps=1", "--out",
                               f"run{i}", "--workers", "1")
            self.assertEqual(ended.returncode, 0, f"{closed}: {ended.stderr[-2000:]}")
            self.assertTrue(os.path.exists(os.path.join(self.folder, f"run{i}", "report.md")), closed)
        for program in ("pft", "pft-coordinator", "pft-worker"):
            ended = self.shell('"$@" <&- >&- 2>&-', os.path.join(BIN, program), "--version")
            self.assertEqual(ended.returncode, 0, program)

    def test_results_that_cannot_be_written_are_an_error_of_every_command(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        history = self.write("h.json", [{"scenario": "Rain is near.", "options": ["Go now.", "Wait."], "choice": 1}])
        answers = self.write("a.json", [{"value": "Risk-taking", "prompt": "p", "answer": "now"}])
        made = self.shell('"$@"', PFT, "run", self.config, "--set", "train.max_steps=1", "--out", "r", "--workers", "1")
        self.assertEqual(made.returncode, 0, made.stderr[-2000:])
        bare = ["--model", MODEL, "--values", VALUES, "--workers", "1"]
        commands = [
            ["eval", *bare, "--data", DATA, "--limit", "2"],
            ["eval", *bare, "--data", DATA, "--limit", "2", "--json"],
            ["infer", "r", "--history", history, "--workers", "1"],
            ["generate", *bare, "--prompt", "hi", "--max-new-tokens", "2"],
            ["generate", *bare, "--prompt", "hi", "--max-new-tokens", "2", "--json"],
            ["capture", *bare, "--data", TRAIN, "--axis", "Risk Orientation", "--out", "v.gguf"],
            ["judge", answers, "--values", VALUES, "--train", TRAIN],
            ["judge", answers, "--values", VALUES, "--train", TRAIN, "--json"],
            ["profile", self.config],
            ["data", "stats", DATA, "--values", VALUES],
            ["config", "keys"],
            ["eval", "--help"],
            ["--help"],
            ["--version"],
        ]
        for words in commands:
            fine = self.shell('"$@"', PFT, *words)
            self.assertEqual(fine.returncode, 0, f"{words}: {fine.stderr[-2000:]}")
            full = self.shell('"$@" >/dev/full', PFT, *words)
            self.assertEqual(full.returncode, 1, words)
            self.assertIn("stdout", full.stderr, words)
        for program in ("pft-coordinator", "pft-worker"):
            full = self.shell('"$@" >/dev/full', os.path.join(BIN, program), "--help")
            self.assertEqual((full.returncode, f"{program}: stdout cannot be written" in full.stderr), (1, True))

    def test_out_writes_into_links_fifos_and_devices(self):
        target = self.write("target", "old")
        os.symlink("target", os.path.join(self.folder, "link"))
        os.mkfifo(os.path.join(self.folder, "fifo"))
        words = [PFT, "data", "import", DATA]
        self.assertEqual(self.shell('"$@" --out link', *words).returncode, 0)
        with open(target, encoding="utf-8") as f:
            imported = f.read()
        self.assertGreater(len(imported.splitlines()), 10)
        self.assertTrue(os.path.islink(os.path.join(self.folder, "link")))
        piped = self.shell('cat fifo & "$@" --out fifo; r=$?; wait; exit $r', *words)
        self.assertEqual((piped.returncode, piped.stdout), (0, imported))
        self.assertTrue(stat.S_ISFIFO(os.stat(os.path.join(self.folder, "fifo")).st_mode))
        shown = self.shell('"$@" --out /dev/stdout | cat', *words)
        self.assertEqual((shown.returncode, shown.stdout), (0, imported))
        made = self.shell("mknod null c 1 3")  # one of our own: never the machine's
        if made.returncode == 0:
            self.assertEqual(self.shell('"$@" --out null', *words).returncode, 0)
            self.assertTrue(stat.S_ISCHR(os.stat(os.path.join(self.folder, "null")).st_mode))


class Parents(ShellCase):
    def run_and_its_children(self):
        run = self.start("run-command", "pft", "run", self.config, *LONG, "--workers", "2", "--out", self.run_folder)
        wait_for("the first step", lambda: self.committed(1))
        children = children_of(run.process.pid)
        self.assertEqual(len(children), 3)
        return run, children

    def test_a_killed_pft_leaves_no_process_and_a_run_that_goes_on(self):
        for number in (signal.SIGKILL, signal.SIGHUP):
            run, children = self.run_and_its_children()
            run.send(number)
            self.assertEqual(run.end(), -number)
            wait_for("the end of the children", lambda pids=children: not any(alive(pid) for pid in pids))
            with open(os.path.join(self.run_folder, "logs", "coordinator.log"), encoding="utf-8") as f:
                self.assertIn("stopped go on with --resume", f.read())
            self.run_folder += "-again"

    def test_the_scratch_folder_of_a_killed_command_is_removed_wherever_it_is(self):
        scratch = os.path.join(self.folder, "scratch")
        os.mkdir(scratch)
        words = [PFT, "chat", "--model", MODEL, "--workers", "1"]
        with subprocess.Popen(words, env={**os.environ, "TMPDIR": scratch}, stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as chat:
            try:
                wait_for("a worker at work", lambda: glob.glob(os.path.join(scratch, "*", "logs", "worker-1.log")))
                children = children_of(chat.pid)
            finally:
                chat.kill()
        wait_for("the end of the children", lambda: not any(alive(pid) for pid in children))
        wait_for("an empty folder", lambda: not os.listdir(scratch))

    def test_a_temporary_folder_that_is_missing_is_named(self):
        ended = self.shell('TMPDIR=/nowhere/at/all "$@"', PFT, "generate", "--model", MODEL, "--prompt", "hi")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("/nowhere/at/all: no folder can be made there: No such file or directory", ended.stderr)


class Places(ShellCase):
    def short_run(self, run, *args, **more):
        return self.shell('"$@"', PFT, "run", self.config, "--set", "train.max_steps=1", "--out", run, *args, **more)

    def test_a_base_model_that_moved_is_named_and_used_by_every_command(self):
        model, elsewhere = os.path.join(self.folder, "model"), os.path.join(self.folder, "elsewhere")
        shutil.copytree(MODEL, model)
        made = self.short_run("r", "--workers", "1", "--set", f"model.path={model}")
        self.assertEqual(made.returncode, 0, made.stderr[-2000:])
        os.rename(model, elsewhere)
        history = self.write("h.json", [{"scenario": "Rain is near.", "options": ["Go now.", "Wait."], "choice": 1}])
        commands = [["eval", "r", "--data", DATA, "--limit", "2", "--workers", "1"],
                    ["generate", "r", "--prompt", "hi", "--max-new-tokens", "2", "--workers", "1"],
                    ["infer", "r", "--history", history, "--workers", "1"],
                    ["export", "r", "--format", "peft", "--out", "x"]]
        for words in commands:
            missing = self.shell('"$@"', PFT, *words)
            self.assertEqual(missing.returncode, 1, words)
            self.assertIn("--set model.path=FILE says where it is", missing.stderr, words)
            found = self.shell('"$@"', PFT, *words, "--set", "model.path=elsewhere")
            self.assertEqual(found.returncode, 0, f"{words}: {found.stderr[-2000:]}")
        other = self.shell('"$@"', PFT, *commands[3], "--set", f"model.path={OTHER_MODEL}")
        self.assertEqual(other.returncode, 3)
        self.assertEqual(self.shell('"$@"', PFT, *commands[3], "--set", "lora.r=2").returncode, 2)

    def test_as_many_workers_start_as_there_are_cores_to_use(self):
        core = min(os.sched_getaffinity(0))
        made = self.short_run("r", preexec_fn=lambda: os.sched_setaffinity(0, [core]))
        self.assertEqual(made.returncode, 0, made.stderr[-2000:])
        logs = [name for name in os.listdir(os.path.join(self.folder, "r", "logs")) if name.startswith("worker")]
        self.assertEqual(logs, ["worker-1.log"])

    def test_a_path_that_is_no_utf_8_holds_a_run_all_the_same(self):
        made = self.short_run(b"r-\xff\xfe", "--workers", "1")
        self.assertEqual(made.returncode, 0, made.stderr[-2000:])
        self.assertTrue(os.path.exists(os.path.join(os.fsencode(self.folder), b"r-\xff\xfe", b"report.md")))

    def test_a_run_of_somebody_else_is_told_as_no_permission(self):
        made = self.short_run("r", "--workers", "1")
        self.assertEqual(made.returncode, 0, made.stderr[-2000:])
        as_other = {}
        if os.getuid() == 0:
            os.chmod(self.folder, 0o755)
            as_other = {"user": 65534, "group": 65534, "extra_groups": []}
        else:
            os.chmod(os.path.join(self.folder, "r"), 0)
        try:
            for words in (["eval", "r"], ["export", "r", "--out", "x"], ["status", "r"],
                          ["run", self.config, "--out", "r", "--resume"]):
                denied = self.shell('"$@"', PFT, *words, **as_other)
                self.assertEqual(denied.returncode, 1, words)
                self.assertIn("Permission denied", denied.stderr, words)
        finally:
            os.chmod(os.path.join(self.folder, "r"), 0o700)


class Terminal(ShellCase):
    def run_on_a_terminal(self, term, columns):
        """What a run writes to a terminal so wide."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        words = [PFT, "run", self.config, "--out", f"r-{term}-{columns}", "--workers", "2"]
        seen = b""
        with subprocess.Popen(words, cwd=self.folder, stdin=theirs, stdout=theirs, stderr=theirs,
                              env={**os.environ, "TERM": term}) as run:
            os.close(theirs)
            while True:
                try:
                    seen += os.read(ours, 65536)
                except OSError:  # EIO: its last writer is gone
                    break
        os.close(ours)
        self.assertEqual(run.returncode, 0, seen[-2000:])
        return seen.decode(errors="replace")

    def test_the_progress_line_never_wraps(self):
        for columns in (80, 60):
            text = self.run_on_a_terminal("xterm", columns).replace("\x1b[K", "")
            lines = [line for line in text.replace("\n", "\r").split("\r") if " ETA " in line]
            self.assertGreater(len(lines), 1)
            self.assertLessEqual(max(map(len, lines)), columns)

    def test_a_dumb_terminal_gets_plain_lines_that_fit(self):
        text = self.run_on_a_terminal("dumb", 80)
        self.assertNotIn("\x1b", text)
        lines = [line for line in text.split("\r\n") if " ETA " in line]
        self.assertGreater(len(lines), 0)
        self.assertLessEqual(max(map(len, lines)), 80)


class Pause(ShellCase):
    def state(self, pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rsplit(")", 1)[1].split()[0]

    def test_ctrl_z_pauses_a_whole_run_which_goes_on_as_if_nothing_had_been(self):
        expected = self.quiet()
        run = self.start("run-command", "pft", "run", self.config, "--workers", "2", "--out", self.run_folder)
        wait_for("the first step", lambda: self.committed(1))
        everyone = [run.process.pid, *children_of(run.process.pid)]
        run.send(signal.SIGTSTP)
        wait_for("all to stop", lambda: all(self.state(pid) == "T" for pid in everyone))
        begin = time.monotonic()  # longer than a silence that ends a session
        wait_for("six seconds", lambda: time.monotonic() - begin > 6)
        self.assertTrue(all(self.state(pid) == "T" for pid in everyone))
        run.send(signal.SIGCONT)
        self.assertEqual(run.end(), 0, run.text()[-3000:])
        self.assertEqual(self.adapter(), expected)
        with open(os.path.join(self.run_folder, "logs", "coordinator.log"), encoding="utf-8") as f:
            log = f.read()
        self.assertNotIn("silent", log)
        self.assertEqual(log.count("worker_joined"), 2, log[-3000:])


class Reasons(ShellCase):
    def short_run(self, *args):
        return self.shell('"$@"', PFT, "run", self.config, "--out", "r", "--workers", "2", *args)

    def test_weights_that_are_no_numbers_are_named_last(self):
        model = os.path.join(self.folder, "model")
        shutil.copytree(MODEL, model)
        with open(os.path.join(model, "model.safetensors"), "r+b") as f:
            header, = struct.unpack("<Q", f.read(8))
            begin = json.loads(f.read(header))["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0]
            f.seek(8 + header + begin + 40)
            f.write(struct.pack("<f", float("nan")))
        ended = self.short_run("--set", f"model.path={model}")
        self.assertEqual(ended.returncode, 1)
        last = ended.stderr.rstrip().split("\n")[-1]
        self.assertIn("model.layers.1.mlp.up_proj.weight, row 0, column 10 is nan", last)
        self.assertEqual(ended.stderr.count("is nan"), 2, ended.stderr)  # once with the log around it

    def test_a_killed_worker_is_told_as_killed(self):
        run = self.start("run-command", "pft", "run", self.config, *LONG, "--workers", "1", "--out", self.run_folder)
        wait_for("the first step", lambda: self.committed(1))
        worker = max(children_of(run.process.pid))
        os.kill(worker, signal.SIGKILL)  # our own, started by the run above
        wait_for("the news", lambda: "worker 1 was killed by signal 9" in run.text())
        run.send(signal.SIGTERM)
        self.assertEqual(run.end(), 130)


class Data(ShellCase):
    def test_sequences_longer_than_the_models_context_are_named_by_check_and_by_a_run(self):
        checked = self.shell('"$@"', PFT, "data", "check", TRAIN, "--values", VALUES, "--model", MODEL)
        self.assertIn("longer than the model's context of 256 positions", checked.stdout)
        made = self.shell('"$@"', PFT, "run", self.config, "--set", "train.max_steps=1", "--out", "r", "--workers", "1")
        self.assertEqual(made.returncode, 0, made.stderr[-2000:])
        with open(os.path.join(self.folder, "r", "logs", "coordinator.log"), encoding="utf-8") as f:
            self.assertIn("longer than the model's context of 256 positions", f.read())


if __name__ == "__main__":
    unittest.main()
