"""The starter data as a test: counts, lengths, repeats, balance, and words alone do not solve it.

Prints every figure it checks. Standard library only. To check files that are still being written
(every rule that holds for a part of the set; the counts and the split are left out):

    tests/data/test_starter_data.py PART.json...
"""
import collections
import json
import math
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRAIN = os.path.join(ROOT, "data", "starter_train.json")
TEST = os.path.join(ROOT, "data", "starter_test.json")
VALUES = os.path.join(ROOT, "configs", "values", "vcd.yaml")
SCENES = ("Family and intimate relationships", "Workplace HR", "Medical", "Gaming",
          "Shopping decisions")
SCENARIO_WORDS = (60, 140)
OPTION_WORDS = (11, 24)
RUN_OF_WORDS = 8        # no run of so many words may occur twice
POLE_LENGTH = 0.05      # mean words of the two poles of an axis: largest relative difference
BAG_LIMIT = 0.75        # bag of words, select-one on the held-out part: must stay below
SMOOTHING = 0.1
BANNED = ("risk", "averse", "immediate", "delay", "gratif", "compet", "collaborat", "assert",
          "accommodat", "intuit", "analy", "innovat", "stabil", "stable", "seek")


def axes_of(path):
    """The axes and their two poles, from the plain layout of configs/values/*.yaml."""
    axes = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            match = re.match(r'(\s*)- name: "([^"]+)"', line)
            if match and len(match.group(1)) == 2:
                axis = axes.setdefault(match.group(2), [])
            elif match:
                axis.append(match.group(2))
    return axes


def words(text):
    return re.findall(r"\w+", text.lower())


def sentences(text):
    ends = r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMrs\.)(?<=[.!?])\s+"
    parts = re.split(ends, text.replace('"', "").strip())
    return [" ".join(words(p)) for p in parts if words(p)]


def place(item):
    return f"{item['preference domain']} / {item['scene']} / {item['scenario'][:40]}..."


def texts(items):
    for item in items:
        yield item, "scenario", item["scenario"]
        for option in item["options"]:
            yield item, option["bias"], option["text"]


def shape_problems(items, axes):
    """Each dilemma by itself: fields, names, four options, two per value, word limits."""
    problems = []
    for item in items:
        where = place(item)
        if set(item) != {"scenario", "preference domain", "scene", "options"}:
            problems.append(f"{where}: fields {sorted(item)}")
            continue
        if item["scene"] not in SCENES:
            problems.append(f"{where}: unknown scene")
        poles = axes.get(item["preference domain"])
        if poles is None:
            problems.append(f"{where}: unknown axis")
            continue
        biases = collections.Counter(o["bias"] for o in item["options"])
        if biases != {poles[0]: 2, poles[1]: 2}:
            problems.append(f"{where}: options {dict(biases)}, expected two of each of {poles}")
        n = len(item["scenario"].split())
        if not SCENARIO_WORDS[0] <= n <= SCENARIO_WORDS[1]:
            problems.append(f"{where}: scenario of {n} words, expected {SCENARIO_WORDS}")
        for option in item["options"]:
            n = len(option["text"].split())
            if not OPTION_WORDS[0] <= n <= OPTION_WORDS[1]:
                problems.append(f"{where}: option of {n} words, expected {OPTION_WORDS}: "
                                f"{option['text']}")
            if len(sentences(option["text"])) != 1 or not option["text"].endswith("."):
                problems.append(f"{where}: not one sentence: {option['text']}")
    return problems


def repeat_problems(items):
    """No sentence and no run of RUN_OF_WORDS words twice, in scenarios and options together."""
    problems, seen_sentence, seen_run = [], {}, {}
    for item, _, text in texts(items):
        for sentence in sentences(text):
            if sentence in seen_sentence:
                problems.append(f"sentence twice: '{sentence}' in {place(item)} and "
                                f"{seen_sentence[sentence]}")
            seen_sentence[sentence] = place(item)
        w = words(text)
        for i in range(len(w) - RUN_OF_WORDS + 1):
            run = " ".join(w[i:i + RUN_OF_WORDS])
            if run in seen_run:
                problems.append(f"run twice: '{run}' in {place(item)} and {seen_run[run]}")
            seen_run[run] = place(item)
    return problems, len(seen_sentence), len(seen_run)


def banned_problems(items):
    """The values' own words do not stand in an option."""
    return [f"{place(item)}: '{word}' in an option" for item, kind, text in texts(items)
            if kind != "scenario" for word in words(text) if any(s in word for s in BANNED)]


def option_lengths(items):
    """axis -> pole -> list of words per option."""
    lengths = collections.defaultdict(lambda: collections.defaultdict(list))
    for item in items:
        for option in item["options"]:
            lengths[item["preference domain"]][option["bias"]].append(len(option["text"].split()))
    return lengths


def pole_positions(items, axes):
    """axis -> how often the first pole stands at places 1 to 4."""
    count = collections.defaultdict(lambda: [0, 0, 0, 0])
    for item in items:
        for i, option in enumerate(item["options"]):
            count[item["preference domain"]][i] += \
                option["bias"] == axes[item["preference domain"]][0]
    return count


def features(text):
    w = words(text)
    return w + list(zip(w, w[1:]))


class Bag:
    """Naive Bayes over words and adjacent pairs of one axis: log-odds of the first pole."""

    def __init__(self, items, poles):
        self.count = [collections.Counter(), collections.Counter()]
        for item in items:
            for option in item["options"]:
                self.count[poles.index(option["bias"])].update(features(option["text"]))
        self.vocabulary = set(self.count[0]) | set(self.count[1])
        self.total = [sum(c.values()) + SMOOTHING * len(self.vocabulary) for c in self.count]

    def weight(self, feature):
        if feature not in self.vocabulary:
            return 0.0
        a, b = ((self.count[side][feature] + SMOOTHING) / self.total[side] for side in (0, 1))
        return math.log(a) - math.log(b)

    def score(self, text):
        return sum(self.weight(f) for f in features(text))


def bag_hits(bag, item, poles):
    """Right answers to the two questions (scenario, value). Ties: the first option."""
    scores = [bag.score(o["text"]) for o in item["options"]]
    biases = [o["bias"] for o in item["options"]]
    first = biases[scores.index(max(scores))] == poles[0]
    second = biases[scores.index(min(scores))] == poles[1]
    return first + second


def of_axis(items, axis):
    return [item for item in items if item["preference domain"] == axis]


def bag_held_out(train, test, axes):
    """axis -> (right, questions), fitted on train."""
    out = {}
    for axis, poles in axes.items():
        bag, rest = Bag(of_axis(train, axis), poles), of_axis(test, axis)
        out[axis] = (sum(bag_hits(bag, item, poles) for item in rest), 2 * len(rest))
    return out


def bag_leave_one_out(items, axes):
    """axis -> (right, questions), each dilemma judged by a bag fitted on the axis's others."""
    out = {}
    for axis, poles in axes.items():
        own = of_axis(items, axis)
        right = sum(bag_hits(Bag(own[:i] + own[i + 1:], poles), item, poles)
                    for i, item in enumerate(own))
        out[axis] = (right, 2 * len(own))
    return out


def share(results):
    right, n = (sum(column) for column in zip(*results.values()))
    return right, n, right / n if n else 0.0


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class StarterData(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.axes = axes_of(VALUES)
        cls.train, cls.test = load(TRAIN), load(TEST)
        cls.all = cls.train + cls.test

    def none_of(self, problems):
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_axes_scenes_and_split_have_their_counts(self):
        self.assertEqual(len(self.axes), 6)
        for name, items, per_axis in (("train", self.train, 64), ("test", self.test, 16)):
            count = collections.Counter(item["preference domain"] for item in items)
            print(f"counts: {name}: {len(items)} dilemmas, per axis {dict(count)}")
            self.assertEqual(count, {axis: per_axis for axis in self.axes})
        cells = collections.Counter((i["preference domain"], i["scene"]) for i in self.all)
        self.assertEqual(cells, {(a, s): 16 for a in self.axes for s in SCENES})
        held = collections.Counter((i["preference domain"], i["scene"]) for i in self.test)
        self.assertTrue(all(2 <= held[a, s] <= 4 for a in self.axes for s in SCENES), held)
        print(f"counts: held out per scene "
              f"{dict(collections.Counter(i['scene'] for i in self.test))}")

    def test_each_dilemma_has_its_form(self):
        self.none_of(shape_problems(self.all, self.axes))
        n = [len(i["scenario"].split()) for i in self.all]
        m = [len(t.split()) for _, kind, t in texts(self.all) if kind != "scenario"]
        print(f"form: scenarios {min(n)} to {max(n)} words, mean {sum(n) / len(n):.1f}; "
              f"options {min(m)} to {max(m)}, mean {sum(m) / len(m):.1f}")

    def test_no_sentence_and_no_run_of_words_stands_twice(self):
        problems, n_sentences, n_runs = repeat_problems(self.all)
        self.none_of(problems)
        print(f"repeats: none in {n_sentences} sentences and {n_runs} runs of {RUN_OF_WORDS} words")

    def test_options_do_not_name_their_value(self):
        self.none_of(banned_problems(self.all))
        print(f"banned: none of {len(BANNED)} stems in {4 * len(self.all)} options")

    def test_the_two_poles_are_equally_long(self):
        for axis, lengths in option_lengths(self.all).items():
            a, b = (sum(lengths[p]) / len(lengths[p]) for p in self.axes[axis])
            gap = abs(a - b) / min(a, b)
            print(f"length: {axis}: {a:.2f} and {b:.2f} words, {100 * gap:.1f} % apart")
            self.assertTrue(gap <= POLE_LENGTH, f"{axis}: {gap:.3f}, at most {POLE_LENGTH}")

    def test_no_place_among_the_options_belongs_to_a_pole(self):
        for axis, count in pole_positions(self.all, self.axes).items():
            print(f"places: {axis}: the first pole stands {count} times at places 1 to 4")
            self.assertTrue(all(34 <= n <= 46 for n in count), f"{axis}: {count}, expected 34..46")

    def test_a_bag_of_words_does_not_solve_the_held_out_part(self):
        results = bag_held_out(self.train, self.test, self.axes)
        for axis, (right, n) in results.items():
            print(f"bag of words: {axis}: {right} of {n} held-out questions")
        right, n, got = share(results)
        print(f"bag of words: {right} of {n} = {got:.3f}, must stay below {BAG_LIMIT}")
        right, m, loo = share(bag_leave_one_out(self.train, self.axes))
        print(f"bag of words, leave one out on the training part: {right} of {m} = {loo:.3f}")
        right, m, loo = share(bag_leave_one_out(self.all, self.axes))
        print(f"bag of words, leave one out on all: {right} of {m} = {loo:.3f}")
        self.assertEqual(n, 192)
        self.assertTrue(got < BAG_LIMIT)


class FixedPart(unittest.TestCase):
    """What tests and the starter matrix take: the first dilemmas of either file, balanced by themselves."""

    def test_the_first_96_and_24_hold_all_axes_alike(self):
        for path, n in ((TRAIN, 96), (TEST, 24)):
            count = collections.Counter(item["preference domain"] for item in load(path)[:n])
            self.assertEqual(set(count.values()), {n // 6}, count)


def check_parts(paths):
    """For an author at work: the rules that hold for any part, then the figures."""
    axes = axes_of(VALUES)
    items = [item for path in paths for item in load(path)]
    problems = shape_problems(items, axes) + repeat_problems(items)[0] + banned_problems(items)
    for axis, lengths in option_lengths(items).items():
        a, b = (sum(lengths[p]) / len(lengths[p]) for p in axes[axis])
        gap = 100 * abs(a - b) / min(a, b)
        print(f"{axis}: words per option {a:.2f} and {b:.2f} ({gap:.1f} %)")
    for axis, count in pole_positions(items, axes).items():
        print(f"{axis}: first pole at places {count}")
    results = {a: r for a, r in bag_leave_one_out(items, axes).items() if r[1]}
    print("bag of words, leave one out:", results, f"{share(results)[2]:.3f}")
    for axis, poles in axes.items():
        for side in (0, 1):
            count = Bag(of_axis(items, axis), poles).count
            gaps = {f: count[side][f] - count[1 - side][f] for f in count[side]}
            top = sorted(gaps, key=lambda f: -gaps[f])[:14]
            if top:
                print(f"{poles[side]}: " + ", ".join(
                    f"{f if isinstance(f, str) else ' '.join(f)} +{gaps[f]}" for f in top))
    print("\n".join(problems) or f"{len(items)} dilemmas without a problem")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].endswith(".json"):
        sys.exit(check_parts(sys.argv[1:]))
    unittest.main(verbosity=2)
