"""What every interop test needs: the Python environment, the model, our programs, loud skips.

A test script calls `support.main()` last and imports heavy packages inside its tests. Run by any
python3, it starts itself again inside the environment of scripts/interop-setup.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("PFT_BIN", ROOT / "build/release/bin"))
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SKIP_CODE = 77
sys.path[:0] = [str(ROOT / "scripts/golden"), str(ROOT / "tests/support")]
import level  # noqa: E402: which kernels `native` means


def name():
    return "interop." + pathlib.Path(sys.argv[0]).stem


def skip(reason):
    """Ends the whole script as skipped; ctest counts it and the line says why."""
    print(f"SKIPPED: {name()}: {reason}", flush=True)
    raise SystemExit(SKIP_CODE)


def enter_environment():
    venv = pathlib.Path(os.environ.get("PFT_VENV", ROOT / "build/venv"))
    python = venv / "bin/python"
    if not (venv / ".pft-stamp").exists():
        skip(f"no Python environment at {venv}: scripts/interop-setup makes it")
    if pathlib.Path(sys.prefix).resolve() != venv.resolve():
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: threads that wait spin
        os.environ |= {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "PYTHONWARNINGS": "ignore",
        }
        os.execv(python, [str(python), "-B", *sys.argv])


@functools.cache
def model():
    """Path of the default model: PFT_MODEL, or what scripts/fetch-model left in the cache."""
    if "PFT_MODEL" in os.environ:
        path = pathlib.Path(os.environ["PFT_MODEL"])
    elif "PFT_CACHE" in os.environ:
        path = pathlib.Path(os.environ["PFT_CACHE"]) / "models" / MODEL_FILE
    else:
        base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        path = pathlib.Path(base) / "pft/models" / MODEL_FILE
    if not path.is_file():
        skip(f"no model at {path}: scripts/fetch-model fetches it")
    return path


@functools.cache
def program(program_name, source):
    """Path of one of our programs. Without its source it cannot exist yet: skipped. With its
    source but unbuilt it is an error, so that a broken build never passes as a skip."""
    path = BIN / program_name
    if path.is_file():
        return path
    if not (ROOT / source).exists():
        skip(f"{source} does not exist")
    raise FileNotFoundError(f"{path} is not built (PFT_BIN names the folder of the programs)")


def run(arguments, **keywords):
    """Runs one of our programs; its messages are shown when it fails."""
    done = subprocess.run(
        [str(a) for a in arguments], capture_output=True, timeout=500, check=False, **keywords
    )
    if done.returncode != 0:
        errors = done.stderr if isinstance(done.stderr, str) else done.stderr.decode("utf-8", "replace")
        raise AssertionError(f"{arguments[0]} ended with {done.returncode}:\n{errors[-4000:]}")
    return done.stdout


def json_lines(arguments, values):
    """Feeds one JSON value a line to a program and reads one a line back."""
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    answer = run(arguments, input=text.encode("utf-8")).decode("utf-8")
    lines = answer.split("\n")[:-1]
    if len(lines) != len(values):
        raise AssertionError(f"{len(values)} lines in, {len(lines)} lines out of {arguments[0]}")
    return [json.loads(line) for line in lines]


def main():
    result = unittest.main(module="__main__", exit=False, verbosity=2, argv=[sys.argv[0]]).result
    if result.skipped and not result.testsRun - len(result.skipped):
        skip("; ".join(reason for _, reason in result.skipped))
    raise SystemExit(0 if result.wasSuccessful() else 1)


enter_environment()
