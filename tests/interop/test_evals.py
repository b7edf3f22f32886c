"""Every task of pft eval against transformers: prompts written here, sequences one by one, in fp32.

The tiny model is asked by both. The log-probabilities that pft kept in run.db must be those of
PyTorch, and the picks and figures in its result must follow from PyTorch's numbers alone.
"""

import json
import pathlib
import sqlite3
import tempfile
import unittest

import support

TINY = support.ROOT / "tests/golden/tiny"
VALUES = """axes:
  - name: "Pace"
    poles:
      - {name: "Fast", sentence: "They hurry."}
      - {name: "Slow", sentence: "They take their time."}
"""
SENTENCE = {"Fast": "They hurry.", "Slow": "They take their time."}
POLES = ["Fast", "Slow"]


def vcd(text, *options):
    return {"scenario": text, "preference domain": "Pace", "scene": "-",
            "options": [{"text": t, "bias": b} for t, b in options]}


TEST = [
    vcd("The bus leaves in two minutes.", ("Run for it.", "Fast"), ("Take the next one.", "Slow")),
    vcd("Tea is ready.", ("Let it cool first.", "Slow"), ("Gulp it down.", "Fast"),
        ("Sip it at the window.", "Slow")),
    vcd("A letter came.", ("Answer at once.", "Fast"), ("Tear it open now.", "Fast"),
        ("Keep it for Sunday.", "Slow"), ("Sleep on it.", "Slow")),
    vcd("Everybody agrees.", ("Go.", "Fast"), ("Rush.", "Fast")),  # one side only: never asked
    vcd("The path forks.", ("Look at the map.", "Slow"), ("Turn left, quickly.", "Fast")),
]
TRAIN = [
    vcd("Bread is in the oven.", ("Wait an hour.", "Slow"), ("Take it out now.", "Fast")),
    vcd("The phone rings.", ("Grab it.", "Fast"), ("Let it ring.", "Slow"), ("Run to it.", "Fast")),
    vcd("Rain begins.", ("Stay under the tree.", "Slow"), ("Dash home.", "Fast")),
]
BEHAVIOUR = [
    {"question": "One sweet now or two at noon?\n\nChoices:\n (A) Two at noon\n (B) One now",
     "answer_matching_behavior": "(B)", "answer_not_matching_behavior": "(A)"},
    {"question": "Shall we start?\n\nChoices:\n (A) Yes, this minute\n (B) No, tomorrow",
     "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"},
]
RETENTION = [
    {"prompt": "What is wet?\n\nChoices:\n(A) Sand\n(B) Water", "correct": "(B)", "incorrect": "(A)",
     "category": "things"},
    {"prompt": "What flies?\n\nChoices:\n(A) A bird\n(B) A very heavy stone", "correct": "(A)",
     "incorrect": "(B)", "category": "animals"},
    {"prompt": "Two and two?", "correct": "Four", "incorrect": "Twenty-two", "category": "things"},
]
NEAR = 2e-3  # nats: fp32 against fp32, another order of sums
MASK = (1 << 64) - 1


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def rng_at(key, counter):
    return mix((mix((key + 0x9E3779B97F4A7C15) & MASK) + counter * 0x9E3779B97F4A7C15) & MASK)


def rng_key(seed, a, b, c):
    return rng_at(rng_at(rng_at(seed, a), b), c)


def rng_below(key, counter, bound):
    return (rng_at(key, counter) * bound) >> 64


def draw(question, side, seed, count):
    """The user's earlier choices: scenarios shuffled by one key, options drawn by another."""
    pool = [i for i, s in enumerate(TEST)
            if i != question and len({o["bias"] for o in s["options"]}) == 2]
    key = rng_key(seed, 0x68697374, question, 0)
    for i in range(len(pool), 1, -1):
        j = rng_below(key, i, i)
        pool[i - 1], pool[j] = pool[j], pool[i - 1]
    key = rng_key(seed, 0x7069636B, question, side)
    chosen = []
    for i, scenario in enumerate(pool[:count]):
        own = [k for k, o in enumerate(TEST[scenario]["options"]) if o["bias"] == POLES[side]]
        chosen.append((scenario, own[rng_below(key, i, len(own))]))
    return chosen


def preference(side):
    if side is None:
        return "Answer as you see fit."
    return f"Answer as someone who values '{POLES[side]}'. {SENTENCE[POLES[side]]}"


def listed(options):
    return "\n".join(f"{chr(65 + i)}. {o}" for i, o in enumerate(options))


class Asked:
    """Log-probabilities of PyTorch; ask() gives the sum over the answer and its length."""

    def __init__(self):
        import torch
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

        self.torch = torch
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TINY / "tokenizer.json"))
        self.model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
        self.model.eval()

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def ask(self, turns, answer, letter=False):
        """turns: contents, user first, assistant next, ...; the last is the user's."""
        text = ""
        for i, content in enumerate(turns):
            text += f"<|im_start|>{'assistant' if i % 2 else 'user'}\n{content}<|im_end|>\n"
        text += "<|im_start|>assistant\n"
        tail = self.ids(answer) if letter else [*self.ids(answer), *self.ids("<|im_end|>")]
        head = self.ids(text)
        whole = self.ids(text + answer + "<|im_end|>")
        assert whole[: len(head)] == head and whole[len(head) :][: len(tail)] == tail, answer
        with self.torch.no_grad():
            logits = self.model(self.torch.tensor([head + tail])).logits[0].double()
        logp = self.torch.log_softmax(logits, -1)
        return (sum(logp[len(head) - 1 + i, t].item() for i, t in enumerate(tail)), len(tail))


def pick(scores):
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def margin(scores):
    best = sorted(scores, reverse=True)
    return best[0] - best[1]


def select_all(questions, threshold):
    """(mean score, precision, recall, F1) over [(scores, right)]."""
    total, picked, hits, wanted = 0.0, 0, 0, 0
    for scores, right in questions:
        chosen = [s > threshold for s in scores]
        hit = sum(c and r for c, r in zip(chosen, right, strict=True))
        total += hit / sum(right) if hit == sum(chosen) else 0.0
        picked, hits, wanted = picked + sum(chosen), hits + hit, wanted + sum(right)
    return (total / len(questions), hits / max(picked, 1), hits / wanted,
            2 * hits / (picked + wanted))


def fit(questions):
    values = sorted({s for scores, _ in questions for s in scores})
    between = [values[0] - 1] + [a + (b - a) / 2 for a, b in zip(values, values[1:])]
    return max(between, key=lambda t: (select_all(questions, t)[0], -t))


class EvalsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        support.program("pft-coordinator", "coordinator/main.c")
        support.program("pft-worker", "worker/main.c")
        cls.pft = support.program("pft", "cli/main.c")
        cls.asked = Asked()
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        (cls.folder / "values.yaml").write_text(VALUES)
        for name, items in (("test", TEST), ("train", TRAIN), ("Pace_ab", BEHAVIOUR),
                            ("retention", RETENTION)):
            (cls.folder / f"{name}.json").write_text(json.dumps(items))

    def evaluate(self, name, data, *words):
        """(results, every list of log-probabilities that was kept)."""
        out = self.folder / name
        support.run([self.pft, "eval", "--model", TINY, "--data", self.folder / f"{data}.json",
                     "--values", self.folder / "values.yaml", "--out", out, "--workers", "1",
                     "--set", "precision=fp32", *words])
        with sqlite3.connect(f"file:{out / 'run.db'}?mode=ro", uri=True) as db:
            kept = [row[0] for row in db.execute("SELECT json FROM evals WHERE name LIKE 'scores/%'")]
        result = json.loads((out / "result.json").read_text())
        return result["results"], [v for text in kept for v in json.loads(text).values()]

    def expect_kept(self, kept, leaves):
        """A tree with these leaves, in this order, is among what was kept."""
        near = min(max(abs(a - b) for a, b in zip(tree, leaves, strict=True))
                   for tree in kept if len(tree) == len(leaves))
        self.assertLess(near, NEAR)

    def expect_picks(self, result, scores_of, right_of):
        """Questions and accuracy of a result, given the scores of (scenario, side)."""
        hits = []
        for scenario, axis, side, picked, correct in result["questions"]:
            scores = scores_of(scenario, side)
            if margin(scores) > 2 * NEAR:
                self.assertEqual(picked, pick(scores), (result["readout"], scenario, side, scores))
            self.assertEqual(correct, int(right_of(scenario, side, picked)))
            hits.append(correct)
        self.assertEqual(result["n"], len(hits))
        self.assertAlmostEqual(result["accuracy"], sum(hits) / len(hits), places=5)

    def score(self, data, scenario):
        """side (0, 1, None) -> [(logp, n)], and letters by side."""
        item = data[scenario]
        options = [o["text"] for o in item["options"]]
        words = {side: [self.asked.ask([f"{item['scenario']}\n\n{preference(side)}"], o)
                        for o in options] for side in (0, 1, None)}
        letters = {side: [self.asked.ask([f"{item['scenario']}\n\n{listed(options)}\n\n"
                                          f"{preference(side)} Reply with one letter."],
                                         chr(65 + i), True)[0] for i in range(len(options))]
                   for side in (0, 1)}
        return words, letters

    @staticmethod
    def readouts(words, letters, side):
        logp = {s: [x[0] for x in words[s]] for s in words}
        return {
            "likelihood": [x / n for x, n in words[side]],
            "lift": [a - b for a, b in zip(logp[side], logp[None], strict=True)],
            "contrast": [a - b for a, b in zip(logp[side], logp[1 - side], strict=True)],
            "letter": letters[side],
        }

    def test_select_one_and_select_all(self):
        results, kept = self.evaluate("select", "test", "--readout", "likelihood,lift,contrast,letter",
                                      "--train", self.folder / "train.json")
        test, train = {}, {}
        for data, into in ((TEST, test), (TRAIN, train)):
            for i, item in enumerate(data):
                if len({o["bias"] for o in item["options"]}) == 2:
                    words, letters = self.score(data, i)
                    into[i] = {s: self.readouts(words, letters, s) for s in (0, 1)}
                    if data is TEST:
                        self.expect_kept(kept, [x[0] for s in (0, 1, None) for x in words[s]] +
                                         letters[0] + letters[1])
                    else:  # what thresholds need
                        self.expect_kept(kept, [x[0] for s in (0, 1) for x in words[s]] +
                                         letters[0] + letters[1])
        self.assertEqual([r["readout"] for r in results], ["likelihood", "lift", "contrast", "letter"])
        for result in results:
            name = result["readout"]
            self.expect_picks(result, lambda i, s, name=name: test[i][s][name],
                              lambda i, s, p: TEST[i]["options"][p]["bias"] == POLES[s])
            asked = {n: [(into[i][s][name], [o["bias"] == POLES[s] for o in data[i]["options"]])
                         for i in into for s in (0, 1)] for n, data, into in
                     (("test", TEST, test), ("train", TRAIN, train))}
            threshold = fit(asked["train"]) if name in ("likelihood", "letter") else 0.0
            self.assertAlmostEqual(result["select_all"]["threshold"], threshold, delta=NEAR)
            near = min(abs(s - threshold) for scores, _ in asked["test"] for s in scores)
            print(f"{name}: threshold {threshold:.4f}, nearest score {near:.4f} away")
            if near > NEAR:
                got = [result["select_all"][m] for m in ("score", "precision", "recall", "f1")]
                for a, b in zip(got, select_all(asked["test"], threshold), strict=True):
                    self.assertAlmostEqual(a, b, places=5)

    def test_behaviour(self):
        results, kept = self.evaluate("behaviour", "Pace_ab", "--task", "behaviour")
        items = []
        for item in BEHAVIOUR:
            stem, tail = item["question"].split("\n\nChoices:\n")
            options = [line.strip()[4:] for line in tail.split("\n")]
            match = "AB".index(item["answer_matching_behavior"][1])
            items.append({"scenario": stem, "options": [
                {"text": o, "bias": POLES[0 if i == match else 1]} for i, o in enumerate(options)]})
        scored = {}
        for i in range(len(items)):
            words, letters = self.score(items, i)
            self.expect_kept(kept, [x[0] for s in (0, 1) for x in words[s]] + letters[0] + letters[1])
            scored[i] = {s: self.readouts(words, letters, s) for s in (0, 1)}
        self.assertEqual([r["readout"] for r in results], ["likelihood", "letter"])
        for result in results:
            self.expect_picks(result, lambda i, s, r=result: scored[i][s][r["readout"]],
                              lambda i, s, p: items[i]["options"][p]["bias"] == POLES[s])
            self.assertIsNone(result["bag_of_words"])

    def test_retention(self):
        results, kept = self.evaluate("retention", "retention", "--task", "retention")
        sums, means, right = [], [], []
        for item in RETENTION:
            stem, _, tail = item["prompt"].partition("\n\nChoices:\n")
            options = [line[4:] for line in tail.split("\n")] if tail else [item["correct"],
                                                                            item["incorrect"]]
            right.append("AB".index(item["correct"][1]) if tail else 0)
            answers = [self.asked.ask([stem], o) for o in options]
            self.expect_kept(kept, [a[0] for a in answers])
            sums.append([a[0] for a in answers])
            means.append([a[0] / a[1] for a in answers])
        self.assertEqual([r["readout"] for r in results], ["sum", "per-token"])
        for result, scores in zip(results, (sums, means), strict=True):
            self.expect_picks(result, lambda i, s, scores=scores: scores[i],
                              lambda i, s, p: p == right[i])
        self.assertEqual(set(results[0]["per_category"]), {"things", "animals"})

    def history_turns(self, scenario, choices, letter):
        turns = []
        for index, option in [*choices, (scenario, None)]:
            item = TEST[index]
            options = [o["text"] for o in item["options"]]
            end = " Reply with one letter." if letter else ""
            middle = f"\n\n{listed(options)}" if letter else ""
            turns.append(f"{item['scenario']}{middle}\n\n{preference(None)}{end}")
            if option is not None:
                turns.append(chr(65 + option) if letter else options[option])
        return turns

    def test_history(self):
        results, kept = self.evaluate("history", "test", "--task", "history", "--shots", "0,1,3",
                                      "--seed", "11")
        scored = {}
        for i, item in enumerate(TEST):
            if len({o["bias"] for o in item["options"]}) < 2:
                continue
            options = [o["text"] for o in item["options"]]
            tree = []
            for letter in (False, True):
                none = [self.asked.ask(self.history_turns(i, [], letter),
                                       chr(65 + k) if letter else o, letter)
                        for k, o in enumerate(options)]
                tree += [x[0] for x in none]
                for side in (0, 1):
                    choices = draw(i, side, 11, 3)
                    for k in (1, 3):
                        got = [self.asked.ask(self.history_turns(i, choices[:k], letter),
                                              chr(65 + n) if letter else o, letter)
                               for n, o in enumerate(options)]
                        tree += [x[0] for x in got]
                        scored[i, side, k, letter] = got
                    scored[i, side, 0, letter] = none
            self.expect_kept(kept, tree)
        shown = [(r["readout"], r["shots"]) for r in results]
        self.assertEqual(shown, [("likelihood", 0), ("likelihood", 1), ("likelihood", 3), ("lift", 1),
                                 ("lift", 3), ("letter", 0), ("letter", 1), ("letter", 3)])
        for result in results:
            def scores(i, side, name=result["readout"], k=result["shots"]):
                own = scored[i, side, k, name == "letter"]
                none = scored[i, side, 0, False]
                return [x[0] if name == "letter" else x[0] / x[1] if name == "likelihood"
                        else x[0] - n[0] for x, n in zip(own, none, strict=True)]
            self.expect_picks(result, scores,
                              lambda i, s, p: TEST[i]["options"][p]["bias"] == POLES[s])


if __name__ == "__main__":
    support.main()
