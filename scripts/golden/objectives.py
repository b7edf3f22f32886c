"""Golden objectives: loss, leaf log-probabilities, label weights and LoRA gradients of a prompt group.

The group goes from text to loss in the plainest way there is: every answer under every preference is
one rendered text, tokenised whole, one separate pass in double; every pair of the group is one loop
iteration with the formula of docs/objectives.md written out. Nothing is shared with the forest.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from torch.nn.functional import logsigmoid

import tiny_model
import tree_reference as ref
import trees

LORA = {"r": 2, "alpha": 4, "targets": ["q", "o", "down"]}
SCENARIO = "The old bridge creaks in the wind."
PREFERENCES = [  # of values.yaml beside the fixtures
    "Answer as someone who values 'Bold'. Likes odds.",
    "Answer as someone who values 'Careful'. Likes safety.",
]
VALUES = (
    "axes:\n- {name: Risk, poles: [{name: Bold, sentence: Likes odds.}, "
    "{name: Careful, sentence: Likes safety.}]}\n"
)
OPTIONS = [("Cross it", 0), ("Turn back home", 1), ("Cross it at a run, now", 0), ("Wait", 1)]
BIAS = ["Bold", "Careful"]
PAIRS = [(a, b) for a, (_, side) in enumerate(OPTIONS) if side == 0
         for b, (_, other) in enumerate(OPTIONS) if other == 1]  # fmt: skip


def sequences(folder):
    """[(side, option, token ids, first label)]: side a with every option, then side b."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for side, preference in enumerate(PREFERENCES):
        for option, (answer, _) in enumerate(OPTIONS):
            prompt = (
                f"<|im_start|>user\n{SCENARIO}\n\n{preference}<|im_end|>\n<|im_start|>assistant\n"
            )
            whole = tokenizer.encode(prompt + answer + "<|im_end|>", add_special_tokens=False)
            first = next(i for i, (begin, _) in enumerate(whole.offsets) if begin >= len(prompt))
            found.append((side, option, whole.ids, first))
    return found


ANCHORS = [  # (instruction, response)
    ("What is a wind?", "Air"),
    ("Name odds, then wait at the old bridge.", "Odds. Then turn back home."),
    ("Creaks?", "It creaks in the wind"),
]
ANCHOR_WEIGHT = 2.0


def anchor_kl(model, folder):
    """Mean KL(base || model) over the rows from the first token of a text to the last but one."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    head, rows = "<|im_start|>user\n", []
    for instruction, response in ANCHORS:
        user = f"{instruction}\n\nAnswer as you see fit."
        text = f"{head}{user}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>"
        whole = tokenizer.encode(text, add_special_tokens=False)
        begin = next(i for i, (at, _) in enumerate(whole.offsets) if at >= len(head))
        ids = torch.tensor([whole.ids])
        p = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, begin:-1], dim=-1)
        with torch.no_grad(), model.disable_adapter():
            q = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, begin:-1], dim=-1)
        rows.append((q.exp() * (q - p)).sum(dim=-1))
    return torch.cat(rows).mean()


def log_p(model, ids, first):
    """Sum over the answer's tokens of log p(token | what stands before it)."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    rows = torch.log_softmax(logits[first - 1 : -1], dim=-1)
    return rows.gather(1, torch.tensor(ids[first:])[:, None]).sum()


class Group:
    """log p and number of tokens by (side, option); its own side's answer is the chosen one."""

    def __init__(self, model, leaves):
        self.p = {(s, o): log_p(model, ids, first) for s, o, ids, first in leaves}
        self.n = {(s, o): len(ids) - first for s, o, ids, first in leaves}
        with torch.no_grad(), model.disable_adapter():
            self.reference = {(s, o): log_p(model, ids, first) for s, o, ids, first in leaves}

    def mean(self, side, option):
        return self.p[side, option] / self.n[side, option]

    def pft(self, a, b, w=(1.0, 1.0)):
        return -w[0] * self.mean(0, a) - w[1] * self.mean(1, b)

    def sides(self, a, b):
        """(side, chosen, rejected)"""
        return (0, a, b), (1, b, a)

    def dpo(self, a, b, beta, smoothing=0.0, w=(1.0, 1.0)):
        loss = 0.0
        for side, chosen, rejected in self.sides(a, b):
            ratio = self.p[side, chosen] - self.reference[side, chosen]
            against = self.p[side, rejected] - self.reference[side, rejected]
            x = beta * (ratio - against)
            loss += w[side] * (-(1 - smoothing) * logsigmoid(x) - smoothing * logsigmoid(-x))
        return loss

    def simpo(self, a, b, beta, gamma, alpha, smoothing=0.0):
        loss = alpha * self.pft(a, b)
        for side, chosen, rejected in self.sides(a, b):
            x = beta * (self.mean(side, chosen) - self.mean(side, rejected)) - gamma
            loss += -(1 - smoothing) * logsigmoid(x) - smoothing * logsigmoid(-x)
        return loss

    def contrast(self, a, b, beta, weight):
        x = (self.p[0, a] - self.p[1, a]) - (self.p[0, b] - self.p[1, b])
        return self.pft(a, b) - weight * logsigmoid(beta * x)

    def ranking(self, a, b, beta, weight):
        loss = self.pft(a, b)
        for side, chosen, rejected in self.sides(a, b):
            gap = self.mean(side, chosen) - self.mean(side, rejected)
            loss += -weight * logsigmoid(beta * gap)
        return loss


# name: (config, loss of one pair)
CASES = {
    "pft": ("train: {objective: pft, w_b: 0.5}", lambda g, a, b: g.pft(a, b, (1.0, 0.5))),
    "sft-a": ("train.objective: sft\nsft.side: a", lambda g, a, b: -g.mean(0, a)),
    "sft-b": ("train.objective: sft\nsft.side: b", lambda g, a, b: -g.mean(1, b)),
    "sft-mix": ("train.objective: sft\nsft.side: mix", lambda g, a, b: g.pft(a, b)),
    "dpo": ("train.objective: dpo", lambda g, a, b: g.dpo(a, b, 0.1)),
    "dpo-smooth": (
        "train: {objective: dpo, w_b: 0.25}\ndpo: {beta: 0.5, label_smoothing: 0.125}",
        lambda g, a, b: g.dpo(a, b, 0.5, 0.125, (1.0, 0.25)),
    ),
    "simpo": ("train.objective: simpo", lambda g, a, b: g.simpo(a, b, 0.1, 0.5, 1.0)),
    "simpo-plain": (
        "train.objective: simpo\nsimpo: {beta: 2, simpo_gamma: 1, cpo_alpha: 0, label_smoothing: 0.25}",
        lambda g, a, b: g.simpo(a, b, 2.0, 1.0, 0.0, 0.25),
    ),
    "pft-contrast": ("train.objective: pft-contrast", lambda g, a, b: g.contrast(a, b, 0.3, 3.0)),
    "ranking": ("train.objective: ranking", lambda g, a, b: g.ranking(a, b, 5.0, 3.0)),
    "pft-contrast-ranking": (
        "train.objective: pft-contrast-ranking\nranking.weight: 2",
        lambda g, a, b: g.contrast(a, b, 0.3, 3.0) + g.ranking(a, b, 5.0, 2.0) - g.pft(a, b),
    ),
    "anchor": (
        f"train.objective: ranking\nanchor: {{weight: {ANCHOR_WEIGHT}, texts: {len(ANCHORS)}}}",
        lambda g, a, b: g.ranking(a, b, 5.0, 3.0),
    ),
}


def write_case(folder, name, model, leaves):
    config, of_pair = CASES[name]
    group = Group(model, leaves)
    for value in group.p.values():
        value.retain_grad()
    loss = sum(of_pair(group, a, b) for a, b in PAIRS) / len(PAIRS)
    kl = anchor_kl(model, folder.parent / "tiny") if "anchor" in config else None
    loss = loss if kl is None else loss + ANCHOR_WEIGHT * kl
    model.zero_grad(set_to_none=True)
    loss.backward()
    weights = [0.0 if p.grad is None else -p.grad.item() for p in group.p.values()]
    gradients = {n + ".grad": p.grad.float().numpy() for n, p in ref.lora_parameters(model)}
    save_file(gradients, str(folder / f"{name}.safetensors"))
    print(f"{name}: loss {loss.item():.9f}")
    case = {"name": name, "config": config, "loss": loss.item(), "weights": weights}
    return case if kl is None else {**case, "kl": kl.item()}, group


def write_all(root):
    folder = root / "objectives"
    folder.mkdir(exist_ok=True)
    model = tiny_model.load_model(root / "tiny").double()
    rng = np.random.default_rng(41)
    lora = ref.random_lora(model.config, LORA["targets"], LORA["r"], rng, 0.3)
    save_file(lora, str(folder / "lora.safetensors"), {"format": "pt"})
    wrapped = ref.add_lora(model, LORA["targets"], LORA["r"], LORA["alpha"], lora).double()
    leaves = sequences(root / "tiny")
    cases = []
    for name in CASES:
        case, group = write_case(folder, name, wrapped, leaves)
        cases.append(case)
    described = [
        {"side": s, "option": o, "first_label": first, "log_p": group.p[s, o].item(),
         "reference": group.reference[s, o].item(), "tokens": ids}
        for s, o, ids, first in leaves
    ]  # fmt: skip
    options = [{"text": text, "bias": BIAS[side]} for text, side in OPTIONS]
    item = {"scenario": SCENARIO, "preference domain": "Risk", "options": options}
    (folder / "data.json").write_text(json.dumps([item], indent=1) + "\n")
    (folder / "values.yaml").write_text(VALUES)
    anchors = [{"instruction": i, "response": r} for i, r in ANCHORS]
    (folder / "anchor-texts.json").write_text(json.dumps(anchors, indent=1) + "\n")
    trees.write_json(
        folder / "objectives.json",
        {"lora": LORA, "pairs": PAIRS, "leaves": described, "cases": cases},
    )
