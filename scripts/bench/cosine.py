"""How far gradients point the way of a reference: cosine.py REFERENCE FILE... (safetensors, PEFT's
names). Prints {FILE: {whole, worst, worst_tensor, relative_error}} as JSON: the cosine of all
parameters as one vector, that of the worst tensor, and |g - reference| / |reference| of the whole.
"""

import json
import sys

import numpy as np
from safetensors.numpy import load_file


def cosine(a, b):
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms > 0 else float("nan")


def compare(reference, gradient):
    if set(reference) != set(gradient):
        raise SystemExit(f"bench: other tensors: {sorted(set(reference) ^ set(gradient))[:3]} ...")
    a = {name: value.astype(np.float64).ravel() for name, value in gradient.items()}
    b = {name: value.astype(np.float64).ravel() for name, value in reference.items()}
    each = {name: cosine(a[name], b[name]) for name in b}
    worst = min(each, key=lambda name: (each[name] == each[name], each[name]))  # NaN first
    a_all, b_all = (np.concatenate([vectors[name] for name in each]) for vectors in (a, b))
    return {
        "whole": cosine(a_all, b_all),
        "worst": each[worst],
        "worst_tensor": worst.removeprefix("base_model.model.model.").removesuffix(".weight"),
        "relative_error": float(np.linalg.norm(a_all - b_all) / np.linalg.norm(b_all)),
    }


def main():
    reference = load_file(sys.argv[1])
    print(json.dumps({path: compare(reference, load_file(path)) for path in sys.argv[2:]}))


if __name__ == "__main__":
    main()
