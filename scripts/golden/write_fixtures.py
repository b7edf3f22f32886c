"""Entry of the golden generator: write_fixtures.py FOLDER (see tests/golden/README.md)."""

import pathlib
import sys

import torch

import generation
import objectives
import text_cases
import tiny_model
import training
import trees


def main():
    root = pathlib.Path(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tiny_model.write_all(root)
    trees.write_all(root)
    training.write_all(root)
    objectives.write_all(root)
    generation.write_all(root)
    text_cases.write_all(root)
    size = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
    print(f"{size} bytes under {root}")


if __name__ == "__main__":
    main()
