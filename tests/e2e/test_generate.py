"""Answers, chats, control vectors and divergences end to end: real programs, the committed tiny model.

The answers are the same whatever the number of workers, whoever is killed, and however requests are put
together; a captured vector is the same file byte for byte. Standard library only; every wait is for a
condition.
"""
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fleet import BIN, MODEL, ROOT, SLOW, wait_for  # noqa: E402
import starter  # noqa: E402

VALUES = os.path.join(ROOT, "configs", "values", "vcd.yaml")
DATA = starter.TEST
AXIS, VALUE = "Risk Orientation", "Risk-taking"
TIMEOUT = 300 if SLOW else 60
BARE = ["--model", MODEL, "--values", VALUES]


def pft(*args, text=None):
    return subprocess.run([os.path.join(BIN, "pft"), *args], capture_output=True, text=True, input=text,
                          timeout=TIMEOUT, check=False)


def layers_of(path):
    """{layer: floats} of a control vector, read from the file's bytes, and its keys."""
    with open(path, "rb") as f:
        data = f.read()
    at, keys, tensors = 24, {}, []
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", data)
    assert magic == b"GGUF" and version == 3

    def text(at):
        n, = struct.unpack_from("<Q", data, at)
        return data[at + 8:at + 8 + n].decode(), at + 8 + n
    for _ in range(n_keys):
        key, at = text(at)
        kind, = struct.unpack_from("<I", data, at)
        if kind == 8:
            keys[key], at = text(at + 4)
        else:
            assert kind == 5  # int32
            keys[key], at = struct.unpack_from("<i", data, at + 4)[0], at + 8
    for _ in range(n_tensors):
        name, at = text(at)
        dims, size, kind, offset = struct.unpack_from("<IQIQ", data, at)
        assert dims == 1 and kind == 0
        tensors.append((name, size, offset))
        at += 24
    start = (at + 31) // 32 * 32
    return keys, {int(name.removeprefix("direction.")): struct.unpack_from(f"<{size}f", data, start + offset)
                  for name, size, offset in tensors}


class Asked:
    """A coordinator with --ask and workers that the test starts and kills itself."""

    def __init__(self, case, name, *words):
        self.out = os.path.join(case.folder, name)
        self.err = open(os.path.join(case.folder, name + ".err"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.path.join(BIN, "pft-coordinator"), *words, "--ask", "--out", self.out], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err)
        self.workers = []
        case.addCleanup(self.close)

    def jobs(self):
        try:
            with open(os.path.join(self.out, "address.json"), encoding="utf-8") as f:
                return json.load(f)["jobs"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def worker(self, *words):
        address = wait_for("address.json", self.jobs)
        self.workers.append(subprocess.Popen(
            [os.path.join(BIN, "pft-worker"), address, "--model", MODEL, *words],
            stdin=subprocess.DEVNULL, stderr=self.err))
        return self.workers[-1]

    def say(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, **question):
        self.say(**question)
        return self.hear()

    def log(self):
        with open(self.err.name, encoding="utf-8") as f:
            return f.read()

    def close(self):
        for process in [self.process, *self.workers]:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.err.close()


class Generate(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pft-generate-")
        self.addCleanup(shutil.rmtree, self.folder)

    def fine(self, shown):
        self.assertEqual(shown.returncode, 0, shown.stderr[-3000:])
        return shown.stdout

    def config(self):
        path = os.path.join(self.folder, "config.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"model.path: {MODEL}\ndata: {{values: {VALUES}, test: {DATA}}}\n")
        return path

    def requests(self, n=24):
        kinds = [{}, {"value": VALUE}, {"mix": {"axis": AXIS, "lambda": 1.5}}]
        return [{"prompt": f"Question {i}: what now?", "temperature": (i % 2) * 1.2, "top_p": 0.95,
                 "max_new_tokens": 5 + i * 5 % 31, "seed": i, **kinds[i % 3]} for i in range(n)]

    def test_answers_do_not_depend_on_workers_or_on_how_requests_are_put_together(self):
        path = os.path.join(self.folder, "prompts.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(self.requests(), f)
        one, two = (json.loads(self.fine(pft("generate", *BARE, "--prompts", path, "--json", "--workers", n)))
                    for n in ("1", "2"))
        self.assertEqual(one, two)
        self.assertEqual(len(one["answers"]), 24)
        asked = Asked(self, "asked", self.config())
        asked.worker("--threads", "2")
        alone = [asked.ask(generate=[r])["answers"][0] for r in self.requests()]
        self.assertEqual(one["answers"], alone)

    def test_a_worker_that_is_killed_changes_no_answer(self):
        requests = [{**r, "max_new_tokens": 900} for r in self.requests(64)]
        asked = Asked(self, "asked", self.config())
        first = asked.worker()
        quiet = asked.ask(generate=requests)
        asked.say(generate=requests)
        # the second question is with the worker: it is the one whose jobs are lost
        wait_for("the job", lambda: asked.log().count("question") == 2)
        first.send_signal(signal.SIGKILL)
        asked.worker()
        self.assertEqual(quiet, asked.hear())

    def test_a_chat_keeps_its_history_and_its_workers(self):
        lines = ["Hello", "/value Nobody", f"/value {VALUE} ", "And now?", f"/mix {AXIS}=9", f"/mix {AXIS}=0.5",
                 "Both? \r", "/plain", "  ", "End", "/quit", "Nobody hears this"]
        chat = pft("chat", *BARE, "--max-new-tokens", "6", "--workers", "1", text="\n".join(lines) + "\n")
        out = self.fine(chat)
        self.assertIn("unknown value 'Nobody'", chat.stderr)
        self.assertIn("'9' is not a number from -2 to 3", chat.stderr)
        asked = Asked(self, "asked", self.config())
        asked.worker()
        history, expected = [], ""
        wishes = {"Hello": {}, "And now?": {"value": VALUE}, "Both?": {"mix": {"axis": AXIS, "lambda": 0.5}},
                  "End": {}}
        for said, wish in wishes.items():
            answer = asked.ask(generate=[{"prompt": said, "history": history, "max_new_tokens": 6, **wish}])
            text = answer["answers"][0]["text"]
            expected += text + "\n"
            history += [{"role": "user", "content": said}, {"role": "assistant", "content": text}]
        self.assertEqual(out, expected)
        asked.process.stdin.close()
        self.assertEqual(asked.process.wait(TIMEOUT), 0)
        self.assertEqual(asked.log().count("worker_joined"), 1)

    def test_a_captured_vector_is_one_file_whatever_the_workers_and_steers(self):
        paths = [os.path.join(self.folder, f"{n}.gguf") for n in (1, 2)]
        for n, path in zip("12", paths):
            self.fine(pft("capture", *BARE, "--data", DATA, "--axis", AXIS, "--out", path, "--workers", n,
                          "--set", "unit_tokens=200"))
        with open(paths[0], "rb") as a, open(paths[1], "rb") as b:
            self.assertEqual(a.read(), b.read())
        keys, layers = layers_of(paths[0])
        self.assertEqual(keys, {"general.architecture": "controlvector", "controlvector.model_hint": "llama",
                                "controlvector.layer_count": 2})
        self.assertEqual(sorted(layers), [1, 2])  # the tiny model has layers 0, 1, 2
        self.assertTrue(all(len(v) == 32 and any(v) for v in layers.values()))

        def answer(*steer):
            return self.fine(pft("generate", *BARE, "--prompt", "Hello there", "--workers", "1", *steer))
        plain = answer()
        self.assertNotEqual(plain, answer("--steer", f"{paths[0]}=40"))
        self.assertEqual(plain, answer("--steer", f"{paths[0]}=40@1", "--steer", f"{paths[0]}=-40@1-1"))
        counts, scores = [], []
        for name, steer in (("plain", []), ("steered", ["--steer", f"{paths[0]}=60@1"])):
            out = os.path.join(self.folder, name)
            counts.append(json.loads(self.fine(pft("eval", *BARE, "--data", DATA, "--json", "--workers", "1",
                                                   "--out", out, *steer)))["n"])
            with sqlite3.connect(f"file:{out}/run.db?mode=ro", uri=True) as db:
                scores.append(db.execute("SELECT json FROM evals WHERE name LIKE 'scores/%' ORDER BY 1").fetchall())
        self.assertEqual(*counts)
        self.assertNotEqual(*scores)

    def test_a_trained_adapter_answers_apart_from_its_base_and_says_how_far(self):
        run = os.path.join(self.folder, "run")
        config = os.path.join(self.folder, "train.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"model.path: {MODEL}\ndata: {{train: {starter.TRAIN}, values: {VALUES}}}\n"
                    "train: {max_steps: 4, batch_groups: 4, learning_rate: 0.05}\nunit_tokens: 300\n"
                    "eval.before: false\n")
        self.fine(pft("run", config, "--out", run, "--workers", "1"))
        base, adapted, bare = (self.fine(pft("generate", *served, "--prompt", "What do you value?",
                                             "--max-new-tokens", "40", "--workers", "1"))
                               for served in ([run, "--base"], [run], ["--model", MODEL]))
        self.assertEqual(base, bare)
        self.assertNotEqual(base, adapted)
        asked = Asked(self, "asked", "--from", run)
        asked.worker()
        texts = ["The capital of France is Paris.", "Water boils at 100 degrees."]
        apart, none = asked.ask(divergence=texts), asked.ask(divergence=texts, adapter=False)
        self.assertGreater(apart["kl"], 1e-4)
        self.assertEqual((none["kl"], none["tokens"]), (0, apart["tokens"]))
        # mean over tokens, not over texts
        self.assertTrue(min(apart["texts"]) <= apart["kl"] <= max(apart["texts"]))

    def test_a_data_file_is_answered_under_both_values_and_judged(self):
        out = os.path.join(self.folder, "open.json")
        words = ["--data", DATA, "--limit", "3", "--max-new-tokens", "9"]
        counted = json.loads(self.fine(pft("generate", *BARE, *words, "--count", "--out", out)))
        self.assertEqual((counted["trees"], counted["decoded"]), (6, 6 * 9))
        self.assertGreater(counted["rows"], 6)
        self.assertFalse(os.path.exists(out))  # nothing was answered
        self.assertEqual(self.fine(pft("generate", *BARE, *words, "--out", out)), "")
        with open(out, encoding="utf-8") as f:
            answers = json.load(f)["answers"]
        self.assertEqual(len(answers), 6)
        self.assertEqual([a["prompt"] for a in answers[::2]], [a["prompt"] for a in answers[1::2]])
        self.assertEqual(len({a["value"] for a in answers}), 6)
        asked = [{"prompt": a["prompt"], "value": a["value"], "max_new_tokens": 9} for a in answers]
        prompts = os.path.join(self.folder, "prompts.json")
        with open(prompts, "w", encoding="utf-8") as f:
            json.dump(asked, f)
        again = json.loads(self.fine(pft("generate", *BARE, "--prompts", prompts, "--json")))["answers"]
        self.assertEqual([a["text"] for a in again], [a["text"] for a in answers])
        train = starter.TRAIN
        judged = self.fine(pft("judge", out, "--values", VALUES, "--train", train, "--json"))
        self.assertEqual(json.loads(judged)["n"], 6)

    def test_what_cannot_be_answered_is_said_and_the_next_question_is_not_harmed(self):
        asked = Asked(self, "asked", self.config())
        asked.worker()
        for question, word in [({"generate": [{"prompt": 3}]}, "prompt"), ({"generate": []}, "no request"),
                               ({"generate": [{"prompt": "a", "value": "Nobody"}]}, "Nobody"),
                               ({"generate": [{"prompt": "a", "mix": {"axis": AXIS, "lambda": 3.5}}]}, "lambda"),
                               ({"generate": [{"prompt": "a", "top_p": 0}]}, "top_p"),
                               ({"generate": [{"prompt": "a", "temprature": 1}]}, "did you mean 'temperature'?"),
                               ({"generate": [{"prompt": "a", "max_new_tokens": 1e6}]}, "max_new_tokens"),
                               ({"generate": [{"prompt": "a", "history": [{"role": "x"}]}]}, "history"),
                               ({"capture": {"axis": "Nothing", "out": "x"}}, "Nothing"),
                               ({"divergence": [1]}, "divergence"), ({"divergence": []}, "no text"), ({}, "wanted"),
                               ({"divergence": ["a"], "count": True}, "count"),
                               ({"generate": [{"prompt": "a"}], "count": 1}, "count")]:
            self.assertIn(word, asked.ask(**question)["error"])
        mixed = {"prompt": "a", "mix": {"axis": AXIS, "lambda": 0.5}, "max_new_tokens": 3}
        self.assertEqual(asked.ask(generate=[mixed], count=True)["decoded"], 2 * 3)  # a row of either value
        asked.process.stdin.write("no JSON\n")
        asked.process.stdin.flush()
        self.assertIn("error", asked.hear())
        self.assertEqual(len(asked.ask(generate=[{"prompt": "a", "max_new_tokens": 3}])["answers"]), 1)
        asked.process.stdin.write('{"generate": "' + 33 * (1 << 20) * "x" + '"}\n')  # above 32 MiB
        asked.process.stdin.flush()
        self.assertIn("more than 33554432 bytes", asked.hear()["error"])
        self.assertEqual(len(asked.ask(generate=[{"prompt": "a", "max_new_tokens": 3}])["answers"]), 1)
        asked.process.stdin.write('{"generate": [{"prompt": "a", "max_new_tokens": 3}]}')  # no line end
        asked.process.stdin.close()
        self.assertEqual(len(asked.hear()["answers"]), 1)
        self.assertEqual(asked.process.wait(TIMEOUT), 0)

    def test_wrong_words_are_refused_by_name(self):
        vector = os.path.join(self.folder, "none.gguf")
        for words, code, said in [
                (["generate", *BARE], 2, "--prompt"), (["generate", "--prompt", "a"], 2, "RUN"),
                (["generate", *BARE, "--prompt", "a", "--value", VALUE, "--mix", AXIS + "=1"], 2, "not both"),
                (["generate", *BARE, "--prompt", "a", "--mix", "1"], 2, "AXIS=LAMBDA"),
                (["generate", *BARE, "--prompt", "a", "--seed", "x"], 2, "--seed"),
                (["generate", *BARE, "--prompt", "a", "--temperature", "nan"], 2, "0 to 10"),
                (["generate", *BARE, "--prompt", "a", "--temperature", "11"], 2, "0 to 10"),
                (["generate", *BARE, "--prompt", "a", "--top-p", "1.5"], 2, "--top-p"),
                (["generate", *BARE, "--prompt", "a", "--max-new-tokens", "5000"], 2, "4096"),
                (["generate", *BARE, "--prompt", "a", "--mix", AXIS + "=inf"], 2, "-2 to 3"),
                (["generate", *BARE, "--prompt", "a", "--mix", "Risk=1"], 2, AXIS),
                (["generate", *BARE, "--prompt", "a", "--value", "Risk-taker"], 2, VALUE),
                (["generate", *BARE, "--prompt", "a", "--out", "/nowhere/x.json"], 1, "no such folder"),
                (["generate", *BARE, "--prompts", "/nowhere/x.json"], 1, "/nowhere/x.json: "),
                (["generate", *BARE, "--prompt", "a", "--limit", "1"], 2, "--limit goes with --data"),
                (["generate", *BARE, "--data", DATA, "--value", VALUE], 2, "leave --value"),
                (["generate", "--model", MODEL, "--data", DATA], 2, "needs --values"),
                (["capture", *BARE, "--axis", AXIS], 2, "--out"),
                (["capture", *BARE, "--axis", AXIS, "--out", "/nowhere/x.gguf", "--data", DATA], 1, "/nowhere"),
                (["generate", *BARE, "--prompt", "a", "--steer", vector + "=1"], 1, "none.gguf"),
                (["generate", *BARE, "--prompt", "a", "--steer", os.path.join(ROOT, "tests", "golden", "gguf", "tiny.F32.gguf") + "=1"], 1, "control vector"),
                (["generate", *BARE, "--prompt", "a", "--steer", "x"], 2, "MULTIPLIER")]:
            shown = pft(*words)
            self.assertEqual(shown.returncode, code, f"{words}: {shown.stderr}")
            self.assertIn(said, shown.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
