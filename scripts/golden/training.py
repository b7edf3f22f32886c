"""Golden training run: 20 AdamW steps of the tiny model on a few trees, as PyTorch takes them."""

from __future__ import annotations

import math

import numpy as np
import torch
from safetensors.numpy import save_file

import tiny_model
import tree_reference as ref
import trees

STEPS = 20
TREES_A_STEP = 2
RECIPE = {
    "learning_rate": 5e-3,
    "weight_decay": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "clip": 1.0,
    "steps": STEPS,
    "warmup_steps": math.ceil(0.06 * STEPS),
}


def factor(step):
    """Learning-rate factor of step 0, 1, ...: linear up over W steps, then linear to zero."""
    warm = RECIPE["warmup_steps"]
    return (step + 1) / warm if step < warm else (STEPS - step) / (STEPS - warm)


def write_all(root):
    rng = np.random.default_rng(31)
    model = tiny_model.load_model(root / "tiny")
    lora = ref.random_lora(model.config, trees.ALL, 4, rng, 0.0)
    wrapped = ref.add_lora(model, trees.ALL, 4, 8, lora)
    shapes = [trees.THREE_LEVELS, [(-1, 5), (0, 3), (0, 4)], [(-1, 8), (0, 1), (0, 2), (0, 5)]]
    first = [9, 5, 8]
    forests = []
    for shape, start in zip(shapes, first, strict=True):
        forests.append(trees.answer_labels(rng, trees.forest(rng, shape), {0: start}))
    parameters = [p for _, p in ref.lora_parameters(wrapped)]
    optimiser = torch.optim.AdamW(
        parameters,
        lr=RECIPE["learning_rate"],
        betas=(RECIPE["beta1"], RECIPE["beta2"]),
        eps=RECIPE["eps"],
        weight_decay=RECIPE["weight_decay"],
        foreach=False,
    )
    steps = []
    for step in range(STEPS):
        chosen = [(TREES_A_STEP * step + i) % len(forests) for i in range(TREES_A_STEP)]
        optimiser.zero_grad(set_to_none=True)
        loss = sum(ref.run_tree(wrapped, ref.Tree.of(forests[i]))["loss"] for i in chosen)
        norm = torch.nn.utils.clip_grad_norm_(parameters, RECIPE["clip"]).item()
        rate = RECIPE["learning_rate"] * factor(step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        steps.append({"trees": chosen, "learning_rate": rate, "loss": loss, "grad_norm": norm})
        if step == 1:  # the first one leaves A's gradient zero, the second moves both
            snapshot(root, "after-2-steps", wrapped)
    snapshot(root, "final", wrapped)
    save_file(lora, str(root / "training" / "start.safetensors"), {"format": "pt"})
    description = {
        "model": "tiny",
        "lora": {"r": 4, "alpha": 8, "targets": trees.ALL},
        "recipe": RECIPE,
        "steps": steps,
        "trees": forests,
    }
    trees.write_json(root / "training" / "run.json", description)
    print("training: losses", " ".join(f"{s['loss']:.4f}" for s in steps))
    print("training: norms ", " ".join(f"{s['grad_norm']:.3f}" for s in steps))


def snapshot(root, name, wrapped):
    folder = root / "training"
    folder.mkdir(exist_ok=True)
    tensors = {n: p.detach().numpy().copy() for n, p in ref.lora_parameters(wrapped)}
    save_file(tensors, str(folder / f"{name}.safetensors"), {"format": "pt"})
