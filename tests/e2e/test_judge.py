"""pft judge against a real HTTP server on loopback: the protocol, every kind of failure, the cache, the key.

Standard library only.
"""
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from fleet import BIN, ROOT
import starter

VALUES = os.path.join(ROOT, "configs", "values", "vcd.yaml")
TRAIN = starter.TRAIN
KEY = "sk-test-0123456789abcdef"

ANSWERS = [
    {"value": "Risk-taking", "prompt": "p1", "answer": "I bet it all on the bold new venture right away"},
    {"value": "Risk-averse", "prompt": "p1", "answer": "I keep the savings safe and insured at the bank"},
    {"value": "Analytical", "prompt": "p2", "answer": "I compare the figures in a table before I decide"},
    {"value": "Intuitive", "prompt": "p2", "answer": "my gut says yes and so I simply go ahead with it"},
]


class Judge(http.server.BaseHTTPRequestHandler):
    """Scores 9 for the value that the answer was given under, 1 for its opposite; `plan` holds failures to come."""

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.seen.append((self.path, self.headers.get("Authorization"), body))
        server.times.append(time.monotonic())
        step = server.plan.pop(0) if server.plan else "fine"
        if isinstance(step, tuple):  # status, seconds to wait
            self.reply(step[0], "later", {"Retry-After": str(step[1])})
        elif isinstance(step, int):
            self.reply(step, f"no: {self.headers.get('Authorization')}", {"Retry-After": "0"})
        elif step == "timeout":
            server.stalled.wait(20)
        elif step == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"cho")
            self.close_connection = True
        elif isinstance(step, dict):  # status, words of an error
            self.reply(step["status"], json.dumps({"error": {"message": step["says"]}}), {"Retry-After": "0"})
        elif server.thinks and self.unfit(body):
            pass
        elif step == "garbage":
            self.reply(200, "<html>not json</html>")
        elif step == "vague":
            self.reply(200, json.dumps({"choices": [{"message": {"content": "somewhere from 3 to 7"}}]}))
        else:
            text = body["messages"][0]["content"]
            value = re.search(r"the value '([^']+)'", text).group(1)
            own = any(a["value"] == value and a["answer"].split()[1] in text.split("<answer>")[1]
                      and text.split("<answer>")[1].strip().startswith(a["answer"][:8]) for a in ANSWERS)
            self.reply(200, json.dumps({"choices": [{"message": {"content": "Score: 9" if own else "1"}}]}))

    def unfit(self, body):
        """What a server of models that think says to the settings of older ones; True: it was said."""
        if self.server.thinks == "new" and ("max_tokens" in body or "temperature" in body):
            self.reply(400, json.dumps({"error": {"message": "Unsupported parameter: 'max_tokens'."}}))
        elif self.server.thinks == "long" and body["max_tokens"] < 500:
            self.reply(200, json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "length"}]}))
        else:
            return False
        return True

    def reply(self, status, text, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        data = text.encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class JudgeTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pft-judge-")
        self.file = os.path.join(self.folder, "answers.json")
        self.cache = os.path.join(self.folder, "cache")
        with open(self.file, "w", encoding="utf-8") as f:
            json.dump(ANSWERS, f)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Judge)
        self.server.seen, self.server.plan, self.server.times, self.server.thinks = [], [], [], None
        self.server.stalled = threading.Event()
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def tearDown(self):
        self.server.stalled.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        shutil.rmtree(self.folder)

    def run_judge(self, *args, code=0, key=KEY, **more):
        env = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
        env.update(PFT_JUDGE_KEY=key, **more)
        done = subprocess.run([os.path.join(BIN, "pft"), "judge", self.file, "--values", VALUES, *args],
                              capture_output=True, text=True, timeout=120, env=env, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertNotIn(KEY, done.stdout + done.stderr)
        return done

    def ask(self, *args, code=0, **more):
        url = f"http://127.0.0.1:{self.server.server_port}/v1/"
        done = self.run_judge("--base-url", url, "--judge-model", "judge-1", "--cache", self.cache, "--rate",
                              "60000", "--json", *args, code=code, **more)
        return json.loads(done.stdout) if code == 0 else done

    def test_scores_swap_and_length_come_from_real_requests(self):
        result = self.ask()
        self.assertEqual(result["n"], 4)
        self.assertEqual(result["scorer"], "judge-1")
        self.assertTrue(result["is_llm_judge"])
        self.assertAlmostEqual(result["score"], 9.0)
        self.assertAlmostEqual(result["swap"]["opposite"], 1.0)
        self.assertAlmostEqual(result["swap"]["lower"], 1.0)
        self.assertEqual(len(result["per_value"]), 4)
        path, key, body = self.server.seen[0]
        self.assertEqual(path, "/v1/chat/completions")
        self.assertEqual(key, f"Bearer {KEY}")
        self.assertEqual(body["model"], "judge-1")
        self.assertEqual(body["temperature"], 0)

    def test_replies_are_kept_and_not_asked_for_again(self):
        first = self.ask()
        n = len(self.server.seen)
        self.assertEqual(self.ask(), first)
        self.assertEqual(len(self.server.seen), n)
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    self.assertNotIn(KEY.encode(), f.read(), name)

    def test_busy_broken_and_slow_answers_are_tried_again(self):
        self.server.plan = [429, 500, "cut", "timeout"]
        begin = time.monotonic()
        result = self.ask("--timeout", "1")
        self.assertAlmostEqual(result["score"], 9.0)
        self.assertEqual(result["unscored"], 0)
        self.assertLess(time.monotonic() - begin, 60)
        bodies = [json.dumps(body) for _, _, body in self.server.seen[:5]]
        self.assertEqual(len(set(bodies)), 1)  # the same question five times

    def test_what_the_other_side_says_is_shown_in_its_words(self):
        for status, code in ((200, 1), (429, 1), (503, 1), (400, 3)):
            self.server.plan = [{"status": status, "says": "NO-CREDIT\\nLEFT of " + "much " * 20 + "END"}] * 4
            done = self.ask("--attempts", "2", code=code)
            self.assertIn(f"status {status}: NO-CREDIT LEFT of much", done.stderr.replace("\\n", " "))
            self.assertIn("END", done.stderr)
            self.server.plan = [{"status": status, "says": f"your key {KEY} is unknown"}] * 4
            self.assertIn(f"status {status}", self.ask("--attempts", "2", code=code).stderr)

    def test_models_that_think_are_asked_as_they_want_and_their_replies_kept(self):
        plain = self.ask()
        questions = len(self.server.seen)
        for thinks in ("new", "long"):
            shutil.rmtree(self.cache)
            self.server.seen.clear()
            self.server.thinks = thinks
            first = self.ask()
            self.assertEqual((first["n"], first["unscored"], first["score"]), (4, 0, plain["score"]))
            self.assertEqual(len(self.server.seen), questions + 1)  # the first one twice, in two forms
            self.assertEqual(self.ask()["score"], plain["score"])
            self.assertEqual(len(self.server.seen), questions + 1)

    def test_replies_without_a_score_are_counted(self):
        self.server.plan = ["garbage", "fine", "fine", "vague"]
        result = self.ask()
        self.assertEqual(result["unscored"], 2)
        self.assertEqual(result["n"], 2)

    def test_a_judge_that_scores_nothing_is_an_error(self):
        self.server.plan = ["garbage", "vague"] * 8
        done = self.ask(code=1)
        self.assertIn("none of the 4 answers got a score", done.stderr)
        self.assertIn("the last one was 'somewhere from 3 to 7'", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_the_rate_is_kept_and_retry_after_too(self):
        with open(self.file, "w", encoding="utf-8") as f:
            json.dump(ANSWERS[:1], f)
        self.ask("--rate", "100")  # 0.6 s apart
        apart = [b - a for a, b in zip(self.server.times, self.server.times[1:])]
        self.assertGreaterEqual(len(apart), 1)
        self.assertGreater(min(apart), 0.5)
        shutil.rmtree(self.cache)
        self.server.times.clear()
        self.server.plan = [(429, 2)]  # the pause would be half a second
        self.ask()
        self.assertGreater(self.server.times[1] - self.server.times[0], 1.9)

    def test_a_key_goes_to_no_other_machine_and_through_no_proxy_unencrypted(self):
        port = self.server.server_port
        words = ["--judge-model", "judge-1", "--cache", self.cache]
        for host, said in [(f"127.0.0.1:9@127.0.0.2:{port}", "names a user"),
                           (f"localhost@127.0.0.2:{port}", "names a user"),
                           (f"127.0.0.2:{port}", "without encryption"),
                           (f"127.0.0.1.example.invalid:{port}", "without encryption")]:
            done = self.run_judge("--base-url", f"http://{host}/v1", *words, code=3)
            self.assertIn(said, done.stderr)
        self.assertEqual(self.server.seen, [])
        proxy = "http://127.0.0.1:1"
        self.assertEqual(self.ask(http_proxy=proxy, all_proxy=proxy, ALL_PROXY=proxy)["n"], 4)

    def test_a_refusal_ends_it_without_showing_the_key(self):
        self.server.plan = [401]
        done = self.ask(code=3)
        self.assertIn("status 401", done.stderr)
        self.assertEqual(len(self.server.seen), 1)

    def test_attempts_end(self):
        self.server.plan = [503] * 10
        done = self.ask("--attempts", "2", code=1)
        self.assertIn("2 attempts failed", done.stderr)
        self.assertEqual(len(self.server.seen), 2)

    def test_without_a_judge_the_words_score(self):
        result = json.loads(self.run_judge("--train", TRAIN, "--json").stdout)
        self.assertFalse(result["is_llm_judge"])
        self.assertEqual(result["scorer"], "words")
        self.assertAlmostEqual(result["score"] + result["swap"]["opposite"], 10.0, places=4)
        self.assertIn("no LLM judge", self.run_judge("--train", TRAIN).stdout)
        self.assertEqual(self.server.seen, [])

    def test_output_of_generate_is_joined_with_its_prompts(self):
        whole = json.loads(self.run_judge("--train", TRAIN, "--json").stdout)
        prompts = os.path.join(self.folder, "prompts.json")
        with open(prompts, "w", encoding="utf-8") as f:
            json.dump([{"prompt": a["prompt"], "value": a["value"]} for a in ANSWERS], f)
        with open(self.file, "w", encoding="utf-8") as f:
            json.dump({"answers": [{"text": a["answer"], "tokens": 9, "end": "stop"} for a in ANSWERS]}, f)
        joined = json.loads(self.run_judge("--train", TRAIN, "--prompts", prompts, "--json").stdout)
        self.assertEqual(joined, whole)
        with open(prompts, "w", encoding="utf-8") as f:
            json.dump([{"prompt": "p", "value": "Analytical"}], f)
        done = self.run_judge("--train", TRAIN, "--prompts", prompts, code=3)
        self.assertIn("1 prompts, but there are 4 answers", done.stderr)

    def test_wrong_input_is_refused_by_name(self):
        with open(self.file, "w", encoding="utf-8") as f:
            json.dump([dict(ANSWERS[0], value="Rsk-taking")], f)
        self.assertIn("answer 1", self.run_judge("--train", TRAIN, code=1).stderr)
        with open(self.file, "w", encoding="utf-8") as f:
            f.write("[{\"value\": 3}]")
        self.assertIn("'value' must be a text", self.run_judge("--train", TRAIN, code=1).stderr)
        self.assertIn("--base-url", self.run_judge(code=2).stderr)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
