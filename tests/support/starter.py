"""A fixed part of the starter data for tests, so that their time does not grow with it: the first dilemmas of either
file, in files of their own that are gone when the program ends. Standard library only."""
import atexit
import json
import os
import shutil
import tempfile

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "data")
folder = tempfile.mkdtemp(prefix="pft-starter-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)


def part(name, n):
    """The path of the first n dilemmas of data/NAME."""
    path = os.path.join(folder, name)
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        items = json.load(f)[:n]
    with open(path, "w", encoding="utf-8") as f:
        json.dump(items, f, ensure_ascii=False, indent=1)
    return path


TRAIN = part("starter_train.json", 96)
TEST = part("starter_test.json", 24)
