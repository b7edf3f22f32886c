"""What PyTorch + transformers + PEFT need for the same pairs: the other side of `make bench`.

    torch_side.py --model GGUF --forest FILE [--mode all] [--threads 2] [--groups 20] [--out FILE]

FILE holds the groups as `pft data forest DATA --json` prints them: a JSON array, an object with
`groups`, or JSON Lines, each group {nodes: [{parent, tokens}], leaves: [{node, side, option}],
labels: [{row, target, weight, leaf}]}. So every mode runs the very tokens our engine runs.

Modes, forward + backward of LoRA r 8 on q, k, v, o, dropout 0, no optimiser step:
    paper   fp32, one pair at a time, both sides padded to 512, logits at every position
    tuned   bf16, each distinct sequence once, sorted by length, batches of about --batch-tokens,
            logits only where there is a label
    forest  bf16, each group once as a tree: 4-D attention mask, positions by depth
    gemm    sgemm and bf16 gemm, GFLOP/s, at one large and at the model's shapes
`all` runs each in a process of its own (peak memory is per process) and prints one JSON object.
"""

import argparse
import gc
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "golden"))
MODES = ["gemm", "paper", "tuned", "forest"]
PADDED = 512
RANK, ALPHA, TARGETS = 8, 32, ["q", "k", "v", "o"]


def read_groups(path, count):
    text = pathlib.Path(path).read_text()
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        data = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(data, dict):
        data = data["groups"] if "groups" in data else [data]
    return data[:count]


class Sequence:
    """One leaf as an ordinary sequence: input tokens, labelled positions, targets, weights."""

    def __init__(self, tree, leaf):
        path = tree.path_rows(tree.leaves[leaf]["node"])
        tokens = tree.row_tokens()
        place = {row: i for i, row in enumerate(path)}
        labels = [label for label in tree.labels if label["leaf"] == leaf]
        self.side = tree.leaves[leaf].get("side")
        self.tokens = [tokens[row] for row in path]
        self.positions = [place[label["row"]] for label in labels]
        self.targets = [label["target"] for label in labels]
        self.weights = [label["weight"] for label in labels]


def sequences_of(group):
    import tree_reference as ref

    tree = ref.Tree.of(group)
    return [Sequence(tree, leaf) for leaf in range(len(tree.leaves))]


def pairs_of(sequences):
    first = [s for s in sequences if s.side in ("a", 0)]
    second = [s for s in sequences if s.side in ("b", 1)]
    return [(a, b) for a in first for b in second]


def load(arguments, bf16, attention):
    import gguf_reference
    import numpy as np
    import peft
    import torch
    import tree_reference as ref

    torch.set_num_threads(arguments.threads)
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = gguf_reference.Gguf(arguments.model).model(dtype, attention)
    # B = 0 as at the start of a training: the loss is the base model's on either side.
    lora = ref.random_lora(model.config, TARGETS, RANK, np.random.default_rng(0), 0.0)
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        target_modules=[ref.MODULES[t].split(".")[1] for t in TARGETS],
    )
    wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, parameter in ref.lora_parameters(wrapped):
            parameter.copy_(torch.from_numpy(lora[name]))
    gc.collect()
    # The peak is that of the steps, not of dequantising the file: reset the kernel's high water.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return wrapped


def peak_rss_mib():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return None


def result(mode, seconds, loss, **counts):
    made = {"mode": mode, "seconds": round(seconds, 3), "loss": loss, **counts}
    for name in ("pairs", "tokens", "useful_tokens", "groups"):
        if name in counts:
            made[name + "_per_s"] = round(counts[name] / seconds, 3)
    made["peak_rss_mib"] = peak_rss_mib()
    return made


def run_paper(arguments, groups):
    """Pair by pair as the paper's code does. Every padded pair costs the same, so a bounded number
    of them (--paper-seconds) gives the rate."""
    import torch
    from torch.nn.functional import cross_entropy

    model = load(arguments, False, "sdpa")
    pairs = [pair for group in groups for pair in pairs_of(sequences_of(group))]

    def step(pair):
        ids = torch.zeros(2, PADDED, dtype=torch.long)
        mask = torch.zeros(2, PADDED, dtype=torch.long)
        labels = torch.full((2, PADDED), -100)
        for side, sequence in enumerate(pair):
            size = min(len(sequence.tokens), PADDED)
            ids[side, :size] = torch.tensor(sequence.tokens[:size])
            mask[side, :size] = 1
            for position, target in zip(sequence.positions, sequence.targets, strict=True):
                if position < PADDED:
                    labels[side, position] = target
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        loss = sum(cross_entropy(logits[side], labels[side]) for side in (0, 1))
        loss.backward()
        return loss.item()

    step(pairs[0])
    start, done, loss, useful = time.monotonic(), 0, 0.0, 0
    while done < len(pairs) and (done < 2 or time.monotonic() - start < arguments.paper_seconds):
        loss += step(pairs[done])
        useful += sum(min(len(s.tokens), PADDED) for s in pairs[done])
        done += 1
    seconds = time.monotonic() - start
    tokens = done * 2 * PADDED
    return result(
        "paper", seconds, loss / done, pairs=done, pairs_in_all=len(pairs), tokens=tokens,
        useful_tokens=useful,
    )  # fmt: skip


def run_tuned(arguments, groups):
    import torch
    from torch.nn.functional import cross_entropy

    model = load(arguments, True, "sdpa")
    inner = model.get_base_model()
    sequences, pairs = [], 0
    for group in groups:
        made = sequences_of(group)
        pairs += len(pairs_of(made))
        sequences += made
    sequences.sort(key=lambda s: len(s.tokens))
    batches, current = [], []
    for sequence in sequences:
        if current and len(sequence.tokens) * (len(current) + 1) > arguments.batch_tokens:
            batches.append(current)
            current = []
        current.append(sequence)
    batches.append(current)

    def step(batch):
        width = max(len(s.tokens) for s in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence.tokens)] = torch.tensor(sequence.tokens)
            mask[row, : len(sequence.tokens)] = 1
        hidden = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        at = [(row, position) for row, s in enumerate(batch) for position in s.positions]
        rows, positions = torch.tensor(at).T
        logits = inner.lm_head(hidden[rows, positions]).float()
        terms = cross_entropy(
            logits, torch.tensor([t for s in batch for t in s.targets]), reduction="none"
        )
        loss = (terms * torch.tensor([w for s in batch for w in s.weights])).sum()
        loss.backward()
        return loss.item(), len(batch) * width

    step(batches[0])
    start, loss, tokens = time.monotonic(), 0.0, 0
    for batch in batches:
        part, padded = step(batch)
        loss += part
        tokens += padded
    seconds = time.monotonic() - start
    return result(
        "tuned", seconds, loss / len(groups), pairs=pairs, groups=len(groups),
        sequences=len(sequences), tokens=tokens,
        useful_tokens=sum(len(s.tokens) for s in sequences),
    )  # fmt: skip


def tree_mask(tree, dtype):
    """Additive [1, 1, rows, rows] mask and positions of a tree."""
    import torch

    allowed = torch.zeros(tree.row_count, tree.row_count, dtype=torch.bool)
    positions = torch.zeros(tree.row_count, dtype=torch.long)
    for node, first in enumerate(tree.first_row):
        path = torch.tensor(tree.path_rows(node))
        size = len(tree.nodes[node]["tokens"])
        for i in range(size):
            upto = len(path) - size + i + 1
            allowed[first + i, path[:upto]] = True
            positions[first + i] = upto - 1
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    return mask[None, None], positions[None]


def run_forest(arguments, groups):
    import torch
    import tree_reference as ref
    from torch.nn.functional import cross_entropy

    model = load(arguments, True, "sdpa")
    inner = model.get_base_model()
    trees = [ref.Tree.of(group) for group in groups]
    pairs = sum(len(pairs_of(sequences_of(group))) for group in groups)

    def step(tree):
        mask, positions = tree_mask(tree, torch.bfloat16)
        hidden = inner.model(
            input_ids=torch.tensor([tree.row_tokens()]),
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state[0]
        rows = tree.labelled_rows()
        place = {row: i for i, row in enumerate(rows)}
        logits = inner.lm_head(hidden[torch.tensor(rows)]).float()
        picked = logits[torch.tensor([place[label["row"]] for label in tree.labels])]
        terms = cross_entropy(
            picked, torch.tensor([label["target"] for label in tree.labels]), reduction="none"
        )
        loss = (terms * torch.tensor([label["weight"] for label in tree.labels])).sum()
        loss.backward()
        return loss.item()

    step(trees[0])
    start = time.monotonic()
    loss = sum(step(tree) for tree in trees)
    seconds = time.monotonic() - start
    tokens = sum(tree.row_count for tree in trees)
    return result(
        "forest", seconds, loss / len(trees), pairs=pairs, groups=len(trees), tokens=tokens
    )


def run_gemm(arguments, groups):
    import torch

    torch.set_num_threads(arguments.threads)
    made = {}
    shapes = {"2048x2048x2048": (2048, 2048, 2048), "512x576x1536": (512, 576, 1536)}
    for dtype in (torch.float32, torch.bfloat16):
        for name, (m, k, n) in shapes.items():
            a, b = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
            best, start = float("inf"), time.monotonic()
            while time.monotonic() - start < 1.5:
                begin = time.perf_counter()
                torch.nn.functional.linear(a, b)
                best = min(best, time.perf_counter() - begin)
            kind = "fp32" if dtype == torch.float32 else "bf16"
            made[f"{kind}_{name}"] = round(2e-9 * m * k * n / best, 1)
    return {"mode": "gemm", "gflops": made}


def run_all(arguments):
    results = {}
    quiet = os.environ | {
        "PYTHONWARNINGS": "ignore",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(arguments.threads),
    }
    for mode in MODES:
        command = [sys.executable, "-B", __file__, *sys.argv[1:], "--mode", mode, "--out", "-"]
        print(f"torch_side: {mode} ...", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=quiet)
        results[mode] = json.loads(done.stdout)
        results[mode].pop("mode")
    import peft
    import torch
    import transformers

    about = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "python": platform.python_version(),
        "threads": arguments.threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    return {"about": about, **results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--forest", required=True)
    parser.add_argument("--mode", choices=["all", *MODES], default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--paper-seconds", type=float, default=40.0)
    parser.add_argument("--out", default="-", help="file for the JSON, - for stdout")
    arguments = parser.parse_args()
    if arguments.mode == "all":
        made = run_all(arguments)
    else:
        groups = read_groups(arguments.forest, arguments.groups)
        run = {"gemm": run_gemm, "paper": run_paper, "tuned": run_tuned, "forest": run_forest}
        made = run[arguments.mode](arguments, groups)
    text = json.dumps(made, indent=1)
    if arguments.out == "-":
        print(text)
    else:
        pathlib.Path(arguments.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
