"""Golden answers, captures, divergences: what transformers says of the tiny model, sequence by sequence.

Greedy answers come from `generate`; mixes, sums of hidden states, KL and steering are computed in the
plainest way from full passes. Nothing is shared with the engine.
"""

from __future__ import annotations

import numpy as np
import torch
from safetensors.numpy import save_file

import tiny_model
import tree_reference as ref
import trees

LORA = {"r": 3, "alpha": 6, "targets": ["q", "k", "v", "o", "gate", "up", "down"]}
NEW_TOKENS = 40
LAMBDAS = [-1.0, 0.0, 0.3, 1.0, 2.5]
STEER_SCALE = 0.7


def logits_of(model, ids, hidden=False):
    out = model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=hidden)
    return (out.logits[0], out.hidden_states) if hidden else out.logits[0]


def greedy(model, ids):
    """The new tokens of transformers' own generate, nothing but the length ends it."""
    made = model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        pad_token_id=0,
    )
    return made[0, len(ids):].tolist()


def mixed(model, a, b, lam):
    """Greedy by lam * log p(a) + (1 - lam) * log p(b), a full pass of both for every token; with the
    smallest lead of a token over the next one."""
    found, lead = [], float("inf")
    for _ in range(NEW_TOKENS):
        p = torch.log_softmax(logits_of(model, a + found)[-1].double(), -1)
        q = torch.log_softmax(logits_of(model, b + found)[-1].double(), -1)
        best = torch.topk(lam * p + (1 - lam) * q, 2)
        lead = min(lead, (best.values[0] - best.values[1]).item())
        found.append(int(best.indices[0]))
    return found, lead


def steered(model, vectors, ids):
    """Logits with a vector added behind every layer."""
    layers = model.get_base_model().model.layers

    def adder(vector):
        def add(module, inputs, output):
            first = output[0] if isinstance(output, tuple) else output
            return (first + vector, *output[1:]) if isinstance(output, tuple) else first + vector

        return add

    hooks = [layer.register_forward_hook(adder(v)) for layer, v in zip(layers, vectors)]
    logits = logits_of(model, ids)
    for hook in hooks:
        hook.remove()
    return logits


def layer_outputs(model, ids):
    """[L, rows, hidden] behind each layer, before the final norm."""
    outputs = []

    def keep(module, inputs, output):
        outputs.append((output[0] if isinstance(output, tuple) else output).reshape(len(ids), -1))

    base = model.get_base_model()
    hooks = [layer.register_forward_hook(keep) for layer in base.model.layers]
    _, hidden = logits_of(model, ids, hidden=True)
    for hook in hooks:
        hook.remove()
    for i in range(1, len(outputs)):  # what output_hidden_states calls the input of layer i
        if not torch.equal(hidden[i][0], outputs[i - 1]):
            raise ValueError("hooks and output_hidden_states differ")
    return torch.stack(outputs)


def write_all(root):
    folder = root / "generation"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(61)
    model = tiny_model.load_model(root / "tiny")
    lora = ref.random_lora(model.config, LORA["targets"], LORA["r"], rng, 0.3)
    prompts = [[int(t) for t in rng.integers(3, 320, n)] for n in (1, 7, 33, 70)]
    with torch.no_grad():
        base_greedy = [greedy(model, p) for p in prompts]
        base_logits = [logits_of(model, p) for p in prompts]
        wrapped = ref.add_lora(model, LORA["targets"], LORA["r"], LORA["alpha"], lora)
        shared = [int(t) for t in rng.integers(3, 320, 20)]
        a = shared + [int(t) for t in rng.integers(3, 320, 5)]
        b = shared + [int(t) for t in rng.integers(3, 320, 9)]
        mixes = []
        for lam in LAMBDAS:
            tokens, lead = mixed(wrapped, a, b, lam)
            mixes.append({"lambda": lam, "tokens": tokens, "lead": lead})
        answers = [
            {"prompt": p, "base": g, "adapted": greedy(wrapped, p)}
            for p, g in zip(prompts, base_greedy)
        ]
        kl = []
        for p, logits in zip(prompts, base_logits):
            ours = torch.log_softmax(logits_of(wrapped, p).double(), -1)
            theirs = torch.log_softmax(logits.double(), -1)
            kl.append((ours.exp() * (ours - theirs)).sum(-1).mean().item())
        layers, hidden = model.config.num_hidden_layers, model.config.hidden_size
        vectors = (rng.standard_normal((layers, hidden)) * STEER_SCALE).astype(np.float32)
        tensors = {
            "steer": vectors,
            "plus": layer_outputs(wrapped, a).double().sum(1).float().numpy(),
            "minus": layer_outputs(wrapped, b).double().sum(1).float().numpy(),
            "steered": steered(wrapped, torch.from_numpy(vectors), a)[-1].numpy(),
        }
    save_file(lora, str(folder / "lora.safetensors"), {"format": "pt"})
    save_file(tensors, str(folder / "generation.safetensors"))
    trees.write_json(
        folder / "generation.json",
        {"lora": LORA, "new_tokens": NEW_TOKENS, "a": a, "b": b, "kl": kl, "answers": answers,
         "mixes": mixes},
    )  # fmt: skip
    print(f"generation: kl {kl}, smallest lead {min(m['lead'] for m in mixes):.2e}")
