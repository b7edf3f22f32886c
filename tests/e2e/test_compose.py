"""docker-compose*.yml: their syntax is checked by docker-compose, their command lines run outside docker.

The commands are taken from the files themselves, those of pft keys too; only folders are mapped into
a temporary one and ports to free ones, and the default model is a tiny one put where scripts/fetch-model would put it. Standard library only.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from fleet import BIN, ROOT

TINY = os.path.join(ROOT, "tests/golden/gguf/tiny.F32.gguf")
LIMIT_S = 240


LOCAL, TCP = "docker-compose.yml", "docker-compose.tcp.yml"


def commands(name):
    """service -> argv, as written in the compose file (JSON lists on one line)."""
    found, service = {}, None
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        for line in f:
            match = re.match(r"  (\w+):\s*$", line)
            service = match.group(1) if match else service
            match = re.match(r"\s+command: (\[.*\])\s*$", line)
            if match:
                found[service] = json.loads(match.group(1))
    return found


class Compose(unittest.TestCase):
    def test_docker_compose_accepts_the_files(self):
        tool = shutil.which("docker-compose")
        if not tool:
            self.skipTest("docker-compose is not installed (scripts/setup --dev)")
        for name in (LOCAL, TCP):
            out = subprocess.run([tool, "-f", os.path.join(ROOT, name), "config", "-q"],
                                 capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((out.returncode, out.stderr), (0, ""), name)

    def test_the_command_lines_for_one_host_train_an_adapter_outside_docker(self):
        with tempfile.TemporaryDirectory(prefix="pft-compose-") as folder:
            os.makedirs(os.path.join(folder, "run"), mode=0o700)
            self.run_in(folder, commands(LOCAL), [
                ("ipc:///run/pft", f"ipc://{folder}/run"), ("/runs/", f"{folder}/runs/")])

    def test_the_command_lines_for_several_hosts_train_an_adapter_over_tcp_with_keys(self):
        with tempfile.TemporaryDirectory(prefix="pft-compose-") as folder:
            with open(os.path.join(ROOT, TCP), encoding="utf-8") as f:
                made = re.findall(r"^#\s+pft (keys .*)$", f.read(), re.M)
            self.assertEqual(len(made), 3)
            for words in made:
                subprocess.run([os.path.join(BIN, "pft"), *words.split()], cwd=folder, check=True,
                               capture_output=True, timeout=60)
            port = self.free_ports()
            self.run_in(folder, commands(TCP), [
                ("tcp://0.0.0.0:5555", f"tcp://127.0.0.1:{port}"),
                ("tcp://0.0.0.0:5557", f"tcp://127.0.0.1:{port + 2}"),
                ("tcp://${PFT_COORDINATOR:-coordinator}:5555", f"tcp://127.0.0.1:{port}"),
                ("/run/pft/keys", f"{folder}/keys"), ("/run/secrets/", f"{folder}/keys/"),
                ("/runs/", f"{folder}/runs/")])

    @staticmethod
    def free_ports():
        """The first of three ports in a row that nobody uses."""
        for port in range(21000 + os.getpid() % 9000, 31000):
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                for n in range(3):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + n))
                return port
        raise AssertionError("no three free ports")

    def run_in(self, folder, lines, mapping):
        self.assertEqual(set(lines), {"coordinator", "worker"})
        models = os.path.join(folder, "cache", "models")
        os.makedirs(models)
        shutil.copy(TINY, os.path.join(models, "SmolLM2-135M-Instruct.Q4_1.gguf"))

        def mapped(words):
            for old, new in mapping:
                words = [w.replace(old, new) for w in words]
            return [os.path.join(BIN, words[0])] + words[1:]

        small = ["--set", "train.max_steps=2", "--set", "eval.before=false", "--set", "lora.r=2",
                 "--set", "eval.readouts=contrast", "--set", "data.max_length=4096"]
        env = dict(os.environ, PFT_CACHE=os.path.join(folder, "cache"))
        log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        started = []
        try:
            for service, extra in (("coordinator", small), ("worker", []), ("worker", [])):
                started.append(subprocess.Popen(mapped(lines[service]) + extra, cwd=ROOT, env=env,
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            self.wait(started[0], log)
            self.assertEqual(started[0].returncode, 0, self.text(log))
            for worker in started[1:]:
                self.wait(worker, log)
                self.assertEqual(worker.returncode, 0, self.text(log))
            adapter = os.path.join(folder, "runs/starter/adapter/adapter_model.safetensors")
            self.assertTrue(os.path.getsize(adapter) > 0)
        finally:
            for process in started:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            log.close()

    def wait(self, process, log):
        begin = time.monotonic()
        try:
            process.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.fail(f"still running after {time.monotonic() - begin:.0f} s\n{self.text(log)}")

    @staticmethod
    def text(log):
        log.flush()
        log.seek(0)
        return log.read()[-4000:]


if __name__ == "__main__":
    if not os.path.exists(TINY):
        print(f"SKIPPED: compose: {TINY} is not there")
        sys.exit(77)
    unittest.main(verbosity=1)
