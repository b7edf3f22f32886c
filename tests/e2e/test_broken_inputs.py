"""Broken files, flags, settings, frames and peers: each is refused in time, with the right exit code
and a message that says what, where and how to mend it; nothing crashes or is left half-made.

Real programs on the committed tiny model. PFT_TABLE=FILE writes every input and its message as a
Markdown table. Standard library only.
"""
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import zmtp
from fleet import BIN, ROOT, SLOW
import starter

GOLDEN = os.path.join(ROOT, "tests", "golden")
TINY = os.path.join(GOLDEN, "tiny")
GGUF = os.path.join(GOLDEN, "gguf", "tiny.F32.gguf")
LIMIT_S = 120 if SLOW else 60
FAILED, USAGE, REFUSED = 1, 2, 3
TABLE = []  # (what was given, exit code, first line of the answer)

VALUES = """axes:
  - name: Risk
    poles:
      - {name: Bold, sentence: "Such a person takes chances."}
      - {name: Careful, sentence: "Such a person looks twice."}
"""


def scenario(i=0, **change):
    item = {"scenario": f"A door number {i} stands open.", "preference domain": "Risk",
            "scene": "home", "options": [{"text": "Walk in.", "bias": "Bold"},
                                         {"text": "Knock first.", "bias": "Careful"}]}
    item.update(change)
    return item


class Broken(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pft-broken-")
        self.env = dict(os.environ, PFT_CACHE=self.path("cache"), HOME=self.folder)
        self.env.pop("PFT_VCD_DIR", None)
        self.programs = []
        self.write("values.yaml", VALUES)
        self.write("data.json", json.dumps([scenario(i) for i in range(24)], indent=1))
        self.settings()

    def tearDown(self):
        for program in self.programs:
            if program.poll() is None:
                program.kill()
            program.wait()
        shutil.rmtree(self.folder)

    # -- material -----------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def settings(self, extra="", steps=2, **change):
        lines = {"model": f"{{path: {TINY}}}", "data": "{train: data.json, values: values.yaml}",
                 "lora": "{r: 2}", "eval": "{before: false}",
                 "train": f"{{max_steps: {steps}, batch_groups: 2}}"}
        lines.update(change)
        body = "".join(f"{key}: {value}\n" for key, value in lines.items()) + extra
        return self.write("c.yaml", body)

    def model(self, **changed):
        """A copy of the tiny model's folder; a file given as None is left out."""
        folder = self.path("model")
        shutil.copytree(TINY, folder)
        for name, content in changed.items():
            name = name.replace("_json", ".json").replace("_safetensors", ".safetensors")
            os.remove(os.path.join(folder, name))
            if content is not None:
                self.write(os.path.join("model", name), content)
        return folder

    def model_config(self, **change):
        with open(os.path.join(TINY, "config.json"), encoding="utf-8") as f:
            keys = json.load(f)
        keys.update(change)
        return self.model(config_json=json.dumps({k: v for k, v in keys.items() if v is not ...}))

    def model_tensors(self, change):
        """The tiny model with a header (and data) as change(header, data) makes them."""
        with open(os.path.join(TINY, "model.safetensors"), "rb") as f:
            raw = f.read()
        size = struct.unpack("<Q", raw[:8])[0]
        header, data = change(json.loads(raw[8:8 + size]), raw[8 + size:])
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return self.model(model_safetensors=struct.pack("<Q", len(text)) + text + data)

    def gguf(self, change):
        with open(GGUF, "rb") as f:
            return self.write("m.gguf", change(f.read()))

    # -- judging ------------------------------------------------------------------------------------

    def files(self):
        return {os.path.relpath(os.path.join(folder, name), self.folder)
                for folder, _, names in os.walk(self.folder) for name in names}

    def run_program(self, *argv, limit_s=LIMIT_S):
        argv = [os.path.join(BIN, argv[0])] + [str(word) for word in argv[1:]]
        try:
            return subprocess.run(argv, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit_s,
                                  text=True, errors="replace", check=False)
        except subprocess.TimeoutExpired:
            self.fail(f"{argv} still runs after {limit_s} s")

    def refused(self, what, code, words, *argv):
        """Runs argv: the code, every word in the message, and no new file but logs and caches."""
        before = self.files()
        done = self.run_program(*argv)
        said = done.stderr.strip()
        left = {name for name in self.files() - before
                if os.path.basename(os.path.dirname(name)) != "logs" and
                not name.startswith("cache/")}
        shown = [line for line in said.splitlines() if line.lstrip(" |").startswith("pft")]
        shown = shown or [line for line in said.splitlines() if " error " in line] or [""]
        shown = shown[0 if code == USAGE else -1]
        TABLE.append((what, done.returncode, shown.lstrip(" |").replace(self.folder, "T")))
        told = f"{what}\n{' '.join(map(str, argv))}\nexit {done.returncode}\n{said}"
        self.assertGreaterEqual(done.returncode, 0, "killed by a signal: " + told)
        self.assertNotRegex(said, "Sanitizer|runtime error:|CHECK failed", told)
        self.assertEqual(done.returncode, code, told)
        for word in words:
            self.assertIn(word, said, f"missing {word!r}: {told}")
        self.assertEqual(left, set(), told)
        self.assertEqual(done.stdout, "", told)
        return said

    # -- models -------------------------------------------------------------------------------------

    def probe(self, what, model, *words):
        self.refused(what, FAILED, [os.path.basename(model), *words], "pft-worker", "--probe", "--model", model)

    def test_a_gguf_cut_inside_its_metadata(self):
        self.probe("GGUF cut after 1,000 bytes", self.gguf(lambda b: b[:1000]))

    def test_a_gguf_cut_inside_its_tensors(self):
        self.probe("GGUF without its last 100 bytes", self.gguf(lambda b: b[:-100]))

    def test_a_gguf_with_a_huge_count_of_keys(self):
        self.probe("GGUF that claims 2^60 keys",
                   self.gguf(lambda b: b[:16] + struct.pack("<Q", 1 << 60) + b[24:]))

    def test_a_gguf_with_a_huge_count_of_tensors(self):
        self.probe("GGUF that claims 2^62 tensors",
                   self.gguf(lambda b: b[:8] + struct.pack("<Q", 1 << 62) + b[16:]))

    def test_a_gguf_of_another_version(self):
        self.probe("GGUF version 9", self.gguf(lambda b: b[:4] + struct.pack("<I", 9) + b[8:]))

    def test_a_gguf_that_is_something_else(self):
        self.probe("text file named .gguf", self.write("m.gguf", "hello, hello, hello, hello"))

    def test_a_gguf_of_another_architecture(self):
        self.probe("GGUF of another architecture",
                   self.gguf(lambda b: b.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0rwkv7", 1)))

    def test_a_gguf_with_a_tensor_of_an_unknown_type(self):
        def change(b):
            at = b.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
            return b[:at] + struct.pack("<I", 14) + b[at + 4:]
        self.probe("GGUF with a Q6_K tensor", self.gguf(change))

    def test_safetensors_with_a_hole(self):
        def change(header, data):
            end = max(t["data_offsets"][1] for n, t in header.items() if n != "__metadata__")
            for name, tensor in header.items():
                if name != "__metadata__" and tensor["data_offsets"][1] == end:
                    tensor["data_offsets"] = [n + 64 for n in tensor["data_offsets"]]
            return header, data + bytes(64)
        self.probe("safetensors with a hole", self.model_tensors(change), "model.safetensors")

    def test_safetensors_with_a_header_larger_than_the_file(self):
        self.probe("safetensors that claims a header of 2^40 bytes",
                   self.model(model_safetensors=struct.pack("<Q", 1 << 40) + b"{}"),
                   "model.safetensors")

    def test_safetensors_with_a_broken_header(self):
        self.probe("safetensors whose header is no JSON",
                   self.model_tensors(lambda header, data: (b"{\"a\": nonsense}", data)),
                   "model.safetensors")

    def test_a_missing_tensor(self):
        name = "model.layers.1.mlp.up_proj.weight"

        def change(header, data):  # the last one in the file can go without leaving a hole
            header["other"] = header.pop(name)
            return header, data
        self.probe("a tensor is missing", self.model_tensors(change), name)

    def test_a_tensor_of_a_wrong_shape(self):
        name = "model.layers.1.mlp.up_proj.weight"

        def change(header, data):
            header[name]["shape"].reverse()
            return header, data
        self.probe("a tensor is transposed", self.model_tensors(change), name, "64", "32")

    def test_a_model_setting_that_would_change_the_mathematics(self):
        self.probe("config.json with scaled RoPE", self.model_config(
            rope_scaling={"rope_type": "yarn", "factor": 4.0}), "config.json", "rope_scaling")

    def test_an_activation_that_is_not_there(self):
        self.probe("config.json with hidden_act gelu", self.model_config(hidden_act="gelu"),
                   "config.json", "gelu", "silu")

    def test_a_model_of_another_family(self):
        self.probe("config.json of a Mamba model", self.model_config(
            model_type="mamba", architectures=["MambaForCausalLM"]), "config.json", "llama")

    def test_a_model_without_a_size(self):
        self.probe("config.json without hidden_size", self.model_config(hidden_size=...),
                   "config.json", "hidden_size")

    def test_a_model_that_is_not_there(self):
        self.probe("a model path that does not exist", self.path("nowhere.gguf"))

    def test_a_folder_without_a_model(self):
        os.mkdir(self.path("empty"))
        self.probe("an empty folder as a model", self.path("empty"), "config.json")

    def test_a_tokenizer_with_an_unknown_pre_tokenizer(self):
        with open(os.path.join(TINY, "tokenizer.json"), encoding="utf-8") as f:
            tokenizer = json.load(f)
        tokenizer["pre_tokenizer"] = {"type": "Metaspace", "replacement": "_"}
        model = self.model(tokenizer_json=json.dumps(tokenizer))
        self.refused("tokenizer.json with pre-tokenizer Metaspace", FAILED,
                     ["tokenizer.json", "Metaspace"], "pft", "data", "stats", "data.json",
                     "--values", "values.yaml", "--model", model)

    def test_a_model_without_its_tokenizer(self):
        self.settings(model=f"{{path: {self.model(tokenizer_json=None)}}}")
        self.refused("a model folder without tokenizer.json", FAILED, ["tokenizer.json"],
                     "pft-coordinator", "c.yaml", "--out", "run")

    # -- data ---------------------------------------------------------------------------------------

    def check(self, what, content, *words):
        path = self.write("bad.json", content if isinstance(content, (str, bytes)) else
                          json.dumps(content, indent=1))
        self.refused(what, FAILED, ["bad.json", *words], "pft", "data", "check", path, "--values",
                     "values.yaml")

    def test_data_with_a_syntax_error(self):
        self.check("data: comma missing", '[\n {"scenario": "a"\n  "scene": "b"}\n]', ":3:")

    def test_data_that_ends_early(self):
        self.check("data: cut in the middle", json.dumps([scenario()])[:-20], "bad.json:1:")

    def test_data_with_a_wrong_type(self):
        self.check("data: scenario is a number", [scenario(), scenario(scenario=3)], "scenario",
                   "bad.json:18:", "number")

    def test_data_with_options_that_are_no_list(self):
        self.check("data: options is a text", [scenario(options="none")], "options")

    def test_data_with_an_unknown_value(self):
        self.check("data: unknown value", [scenario(options=[
            {"text": "x", "bias": "Blod"}, {"text": "y", "bias": "Careful"}])], "Blod", "Bold")

    def test_data_with_an_unknown_axis(self):
        self.check("data: unknown axis", [scenario(**{"preference domain": "Riks"})], "Riks", "Risk")

    def test_data_with_a_missing_field(self):
        item = scenario()
        del item["options"]
        self.check("data: options missing", [scenario(), item], "options", "bad.json:17:")

    def test_data_with_an_empty_text(self):
        self.check("data: empty option", [scenario(options=[
            {"text": "", "bias": "Bold"}, {"text": "y", "bias": "Careful"}])], "text")

    def test_data_that_is_not_utf_8(self):
        self.check("data: bytes that are no UTF-8",
                   json.dumps([scenario()]).encode().replace(b"Walk", b"W\xff\xfek"), "UTF-8")

    def test_data_with_a_lone_surrogate(self):
        self.check("data: lone surrogate",
                   json.dumps([scenario()]).replace("Walk", "W\\ud800k"), "bad.json:1:")

    def test_data_that_is_nested_too_deep(self):
        item = scenario(scene="@")
        self.check("data: 5,000 brackets deep", json.dumps([item]).replace('"@"', "[" * 5000 + "]" * 5000),
                   "64")

    def test_data_with_a_field_given_twice(self):
        self.check("data: a field given twice",
                   json.dumps([scenario()]).replace('"scene"', '"scene": "x", "scene"'), "scene")

    def test_data_that_is_empty(self):
        self.check("data: empty file", "")
        self.check("data: empty array", "[]")

    def test_data_of_no_known_format(self):
        self.check("data: fields of no known format", [{"query": "?", "reply": "!"}], "scenario")

    def test_data_that_is_no_file(self):
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("pipe"))
        for what, name, word in (("data: a folder", "folder", "folder"),
                                 ("data: a FIFO", "pipe", "regular file"),
                                 ("data: no such file", "nothing.json", "No such file")):
            self.refused(what, FAILED, [name, word], "pft", "data", "check", name)

    def test_an_answer_that_cannot_fit(self):
        long = scenario(options=[{"text": "word " * 400, "bias": "Bold"},
                                 {"text": "no", "bias": "Careful"}])
        self.write("data.json", json.dumps([long]))
        self.settings(data="{train: data.json, values: values.yaml, max_length: 128}")
        self.refused("data: an answer longer than data.max_length", REFUSED,
                     ["data.json", "128", "max_length"], "pft-coordinator", "c.yaml", "--out", "run")

    def test_values_that_do_not_hold_together(self):
        for what, old, new, words in (
                ("values: a name twice", "Careful", "Bold", ["Bold"]),
                ("values: a sentence missing", ', sentence: "Such a person looks twice."', "",
                 ["sentence"]),
                ("values: three poles", "axes:", "axes:\n  - name: X\n    poles: [{name: a, sentence"
                 ": s}, {name: b, sentence: s}, {name: c, sentence: s}]", ["poles"]),
                ("values: an unknown key", "    poles", "    polse", ["polse", "poles"])):
            self.write("bad.yaml", VALUES.replace(old, new))
            self.refused(what, FAILED, ["bad.yaml:", *words], "pft", "data", "check", "data.json",
                         "--values", "bad.yaml")

    def test_a_run_without_its_values_file(self):
        self.settings(data="{train: data.json}")
        self.refused("VCD data without data.values", REFUSED, ["data.values"], "pft-coordinator",
                     "c.yaml", "--out", "run")
        self.settings(data="{train: data.json, values: values.yml}")
        self.refused("a values file that is not there", FAILED, ["values.yml"], "pft-coordinator",
                     "c.yaml", "--out", "run")

    # -- settings -----------------------------------------------------------------------------------

    def setting(self, what, content, *words, code=FAILED):
        self.write("c.yaml", content)
        self.refused(what, code, ["c.yaml", *words], "pft", "config", "show", "c.yaml")
        self.refused(what, code, ["c.yaml", *words], "pft-coordinator", "c.yaml", "--out", "run")
        TABLE.pop()

    def test_settings_with_an_unknown_key(self):
        self.setting("config: unknown key", "train:\n  learning_rte: 1e-4\n", ":2:", "learning_rte",
                     "learning_rate")

    def test_settings_with_an_unknown_section(self):
        self.setting("config: unknown section", "trian:\n  epochs: 1\n", ":1:", "trian", "train")

    def test_settings_out_of_range(self):
        self.setting("config: value out of range", "lora:\n  r: 0\n", ":2:", "lora.r", "512")

    def test_settings_that_are_no_number(self):
        self.setting("config: no number", "train:\n  epochs: many\n", ":2:", "many")
        self.setting("config: not a number at all", "train:\n  learning_rate: .nan\n", ":2:", "nan")

    def test_settings_with_a_key_twice(self):
        self.setting("config: key twice", "strict: true\nstrict: false\n", ":2:", "strict")

    def test_settings_with_an_alias(self):
        self.setting("config: alias", "lora: &a\n  r: 2\ntrain: *a\n", "c.yaml:1:")

    def test_settings_with_a_tab(self):
        self.setting("config: tab indentation", "lora:\n\tr: 2\n", ":2:", "tab")

    def test_settings_with_precision_nonsense(self):
        self.setting("config: precision nonsense", "precision: fp17\n", ":1:", "fp17", "fp32", "bf16")

    def test_settings_that_contradict_each_other(self):
        self.setting("config: paper normalisation of scenarios", "train:\n  normalisation: paper\n",
                     "normalisation", "data.group", code=REFUSED)

    def test_settings_that_are_no_yaml(self):
        self.setting("config: a bracket is never closed", "lora: [q, k\n", "c.yaml:")
        self.setting("config: bytes that are no text", b"\xff\xfe\x00\x01", "c.yaml")

    def test_settings_with_a_variable_that_is_not_set(self):
        self.setting("config: $PFT_VCD_DIR is not set", "data:\n  train: $PFT_VCD_DIR/a.json\n", ":2:",
                     "PFT_VCD_DIR")

    def test_settings_given_by_set(self):
        self.refused("--set with an unknown key", FAILED, ["--set", "train.epoch", "train.epochs"],
                     "pft", "run", "c.yaml", "--set", "train.epoch=2")
        self.refused("--set without a value", USAGE, ["--set", "KEY=VALUE"], "pft", "run", "c.yaml",
                     "--set", "train.epochs")
        self.refused("--set out of range", FAILED, ["train.epochs", "0", "100000"], "pft-coordinator",
                     "c.yaml", "--out", "run", "--set", "train.epochs=0")

    def test_settings_that_are_not_there(self):
        self.refused("CONFIG that is not there", FAILED, ["no.yaml"], "pft", "run", "no.yaml")
        self.refused("CONFIG that is a folder", FAILED, ["cfg"], "pft", "run",
                     os.makedirs(self.path("cfg")) or "cfg")

    # -- flags --------------------------------------------------------------------------------------

    def test_words_that_pft_does_not_know(self):
        for what, words, *argv in (
                ("unknown command", ["rnu", "run"], "pft", "rnu"),
                ("no command", ["pft run"], "pft"),
                ("unknown option", ["--wrokers", "--workers"], "pft", "run", "c.yaml", "--wrokers", 2),
                ("option without a value", ["--out"], "pft", "run", "c.yaml", "--out"),
                ("--workers -1", ["--workers", "-1"], "pft", "run", "c.yaml", "--workers", "-1"),
                ("--workers abc", ["--workers", "abc"], "pft", "run", "c.yaml", "--workers", "abc"),
                ("--workers 0", ["--workers", "0", "1"], "pft", "run", "c.yaml", "--workers", "0"),
                ("two configs", ["one CONFIG"], "pft", "run", "c.yaml", "c.yaml"),
                ("three configs", ["one CONFIG"], "pft", "run", "c.yaml", "c.yaml", "c.yaml"),
                ("no CONFIG", ["CONFIG"], "pft", "run"),
                ("--readout typo", ["contrats", "contrast"], "pft", "eval", "run", "--readout",
                 "contrats"),
                ("--model without --data", ["--data"], "pft", "eval", "--model", TINY),
                ("--format typo", ["safetensor", "peft"], "pft", "export", "run", "--format",
                 "safetensor", "--out", "o"),
                ("export without --out", ["--out"], "pft", "export", "run"),
                ("data: unknown action", ["chekc", "check"], "pft", "data", "chekc", "data.json"),
                ("data: --format typo", ["vdc", "vcd"], "pft", "data", "check", "data.json",
                 "--format", "vdc"),
                ("config: unknown action", ["shwo", "show"], "pft", "config", "shwo"),
                ("status of nothing", ["RUN"], "pft", "status"),
                ("coordinator: no CONFIG", ["CONFIG"], "pft-coordinator"),
                ("coordinator: no --out", ["--out"], "pft-coordinator", "c.yaml"),
                ("coordinator: unknown option", ["--wat"], "pft-coordinator", "c.yaml", "--wat"),
                ("coordinator: two configs", ["one CONFIG"], "pft-coordinator", "c.yaml", "d.yaml",
                 "--out", "run"),
                ("coordinator: address of no kind", ["ipc://", "tcp://"], "pft-coordinator", "c.yaml",
                 "--out", "run", "--bind", "jobs.sock"),
                ("coordinator: ipc path of 200 bytes", ["at most", "shorter"], "pft-coordinator",
                 "c.yaml", "--out", "run", "--bind", "ipc:///tmp/" + "x" * 200),
                ("coordinator: port 99999", ["99999", "65534"], "pft-coordinator", "c.yaml", "--out",
                 "run", "--bind", "tcp://127.0.0.1:99999"),
                ("worker: no address", ["ADDRESS"], "pft-worker", "--model", TINY),
                ("worker: no model", ["--model"], "pft-worker", "ipc:///tmp/x"),
                ("worker: --slots 0", ["--slots 0", "1"], "pft-worker", "ipc:///tmp/x", "--model",
                 TINY, "--slots", "0"),
                ("worker: --kernels avx9", ["avx9", "x86-64-v3"], "pft-worker", "--probe", "--model",
                 TINY, "--kernels", "avx9"),
                ("worker: --lora nonsense", ["--lora", "R,ALPHA"], "pft-worker", "--probe", "--model",
                 TINY, "--lora", "x")):
            with self.subTest(what):
                self.refused(what, USAGE, words, *argv)

    def test_folders_that_are_no_run(self):
        os.mkdir(self.path("empty"))
        for what, argv in (("status", ("status", "empty")),  # each message names the folder
                           ("export", ("export", "empty", "--out", "o")),
                           ("eval", ("eval", "empty", "--data", "data.json")),
                           ("status", ("status", "nowhere"))):
            with self.subTest(argv):
                self.refused(f"pft {what} of a folder that is no run", FAILED, [argv[1], "run"], "pft",
                             *argv)

    def test_nothing_to_resume(self):
        self.refused("--resume with nothing there", FAILED, ["runs/c", "--resume"], "pft", "run",
                     "c.yaml", "--resume")
        self.refused("coordinator: --resume with nothing there", FAILED, ["--resume"],
                     "pft-coordinator", "c.yaml", "--out", "run", "--resume")

    def test_addresses_that_others_could_reach(self):
        for address in ("tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.0.2.1:5555"):
            self.refused(f"--bind {address}", REFUSED, [address, "127.0.0.1", "pft keys init"],
                         "pft-coordinator", "c.yaml", "--out", "run", "--bind", address)

    def test_an_address_that_is_a_file(self):
        self.write("thesis.txt", "precious")
        self.refused("--bind on a file that is no socket", REFUSED, ["thesis.txt", "no socket"],
                     "pft-coordinator", "c.yaml", "--out", "run", "--bind",
                     f"ipc://{self.folder}/thesis.txt")
        with open(self.path("thesis.txt"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "precious")

    def test_an_address_in_a_folder_that_is_not_there(self):
        self.refused("--bind in a folder that is not there", FAILED, ["no/jobs.sock", "make the folder"],
                     "pft-coordinator", "c.yaml", "--out", "run", "--bind",
                     f"ipc://{self.folder}/no/jobs.sock")

    def test_a_mistake_does_not_make_a_run(self):
        """After a broken data file the same command works without --resume."""
        good = json.dumps([scenario()])
        self.write("data.json", good[:-10])
        self.refused("pft run with broken data", FAILED, ["data.json:1:"], "pft", "run", "c.yaml",
                     "--workers", "1")
        self.write("data.json", good)
        done = self.run_program("pft", "run", "c.yaml", "--workers", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("data.json:1:", done.stderr)
        self.refused("pft run over a finished run", REFUSED, ["runs/c", "finished", "--out"], "pft",
                     "run", "c.yaml", "--workers", "1")
        self.refused("pft status of a finished run", FAILED, ["runs/c", "finished", "report.md"], "pft",
                     "status", "runs/c")
        self.refused("coordinator over a finished run", REFUSED, ["runs/c", "--resume"],
                     "pft-coordinator", "c.yaml", "--out", "runs/c")
        self.refused("resumed with other settings", REFUSED, ["runs/c", "other settings"],
                     "pft-coordinator", "c.yaml", "--out", "runs/c", "--resume", "--set",
                     "train.seed=5")
        os.rename(self.path("runs/c/run.db"), self.path("runs/c/old.db"))
        self.write("runs/c/run.db", b"SQLite format 3\0" + bytes(3000))
        self.refused("a run.db that is damaged", FAILED, ["run.db"], "pft", "export", "runs/c",
                     "--out", "o")

    # -- peers --------------------------------------------------------------------------------------

    def start(self, name, *argv):
        with open(self.path(name + ".err"), "wb") as err:
            child = subprocess.Popen([os.path.join(BIN, argv[0]), *argv[1:]], cwd=self.folder,
                                     env=self.env, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        self.programs.append(child)
        return child

    def said(self, name):
        with open(self.path(name + ".err"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_for(self, what, condition):
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.01)  # between two looks at a condition
        return self.fail(f"timed out: {what}\n{self.said('coordinator')[-3000:]}")

    def coordinator(self, run="run"):
        child = self.start("coordinator", "pft-coordinator", "c.yaml", "--out", run)

        def address():
            self.assertIsNone(child.poll(), self.said("coordinator"))
            try:
                with open(self.path(f"{run}/address.json"), encoding="utf-8") as f:
                    return json.load(f)
            except FileNotFoundError:
                return None
        return child, self.wait_for("address.json", address)

    def ended(self, child):
        try:
            return child.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return self.fail(f"does not end: {child.args}")

    def adapter(self, run="run"):
        with open(self.path(f"{run}/adapter/adapter_model.safetensors"), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def committed(self, address):
        shown = self.run_program("pft", "status", address["status"], "--json")
        return json.loads(shown.stdout)["step"]["committed"] if shown.returncode == 0 else -1

    def test_garbage_from_strangers_changes_nothing(self):
        steps = 120
        self.settings(steps=steps, data=f"{{train: {starter.TRAIN}, values: "
                      f"{ROOT}/configs/values/vcd.yaml}}")
        quiet, address = self.coordinator("quiet")
        self.ended(self.start("quiet-worker", "pft-worker", address["jobs"], "--model", TINY))
        self.assertEqual(self.ended(quiet), 0)

        coordinator, address = self.coordinator()
        jobs = address["jobs"][len("ipc://"):]
        status = address["status"][len("ipc://"):]
        worker = self.start("worker", "pft-worker", address["jobs"], "--model", TINY)
        begun = self.wait_for("a step", lambda: max(0, self.committed(address)))
        with contextlib.ExitStack() as strangers:
            for path in (jobs, status, jobs + ".tensors"):
                self.throw_garbage(path, strangers)
                done = self.committed(address)
                self.wait_for("steps in between", lambda at=done: self.committed(address) > at + 3)
            self.ask_as_a_stranger(jobs)
            self.ask_for_a_strange_status(status)
            after = self.committed(address)
            self.assertIsNone(coordinator.poll(), self.said("coordinator")[-3000:])
        self.assertEqual(self.ended(worker), 0, self.said("worker")[-3000:])
        self.assertEqual(self.ended(coordinator), 0, self.said("coordinator")[-3000:])
        self.assertEqual(self.adapter(), self.adapter("quiet"))
        self.assertNotRegex(self.said("coordinator"), "Sanitizer|runtime error:")
        print(f"strangers from step {begun} to step {after} of {steps}")

    def throw_garbage(self, path, stay):
        noise = hashlib.shake_256(path.encode()).digest(70000)
        stay.enter_context(zmtp.Peer(path)).send(noise)  # no ZMTP at all
        stay.enter_context(zmtp.Peer(path)).send(zmtp.GREETING[:20])  # half a greeting, silence
        for frames in ([noise[:100]], [b""], [noise[:1]] * 40, [zmtp.hello(), noise[:50], b"x"],
                       [b"\x0a" * 60000], [b"\xff" * 3000]):
            with zmtp.Peer(path) as peer:
                peer.greet()
                for _ in range(5):  # more strikes than a peer has
                    peer.message(*frames)
        with zmtp.Peer(path) as peer:  # a peer that calls itself by a name of 255 bytes
            peer.greet(identity=b"n" * 255).message(noise[:100])
        with zmtp.Peer(path) as peer:  # a frame that says it has 2^62 bytes
            peer.greet().send(bytes([zmtp.LONG]) + struct.pack(">Q", 1 << 62) + noise)
            self.assertTrue(peer.closed(), "a frame of 2^62 bytes is waited for")
        TABLE.append((f"garbage into {os.path.basename(path)} of a coordinator that trains", 0,
                      "(dropped, counted; the adapter is the same bit for bit)"))

    def ask_as_a_stranger(self, path):
        for what, hello, words in (
                ("a worker of protocol 999", zmtp.hello(protocol=999),
                 [b"999", b"not %d " % zmtp.PROTOCOL]),
                ("a worker with another model", zmtp.hello(), [b"model"])):
            with zmtp.Peer(path) as peer:
                peer.greet().message(hello)
                reply = peer.read_frame()
                TABLE.append((what, "-", re.search(rb"[a-z][ -~]{16,}", reply).group().decode()))
                for word in words:
                    self.assertIn(word, reply)
        with zmtp.Peer(path) as peer:  # a header frame beyond 64 KiB
            peer.greet().message(zmtp.hello(worker="x" * 70000))
            peer.message(zmtp.hello(protocol=998))
            self.assertIn(b"998", peer.read_frame())

    def ask_for_a_strange_status(self, path):
        with zmtp.Peer(path) as peer:
            peer.greet().message(b"\xff\xff\xff")
            peer.message(zmtp.number(1, 77))
            peer.message(zmtp.number(1, 1))
            self.assertGreater(len(peer.read_frame()), 20)

    def test_peers_that_do_not_belong(self):
        self.settings(steps=100000)
        coordinator, address = self.coordinator()
        self.refused("worker with another model", REFUSED, ["model", "SHA-256"], "pft-worker",
                     address["jobs"], "--model", os.path.join(GOLDEN, "tiny-untied"))
        self.refused("a second coordinator on the run", REFUSED, ["run", str(coordinator.pid)],
                     "pft-coordinator", "c.yaml", "--out", "run", "--resume")
        self.refused("a socket that is taken", REFUSED, ["jobs.sock", "in use"], "pft-coordinator",
                     "c.yaml", "--out", "second", "--bind", address["jobs"])
        coordinator.send_signal(signal.SIGKILL)
        coordinator.wait()
        self.refused("status of a coordinator that was killed", FAILED, ["run"], "pft", "status", "run")
        self.refused("worker: nobody answers", 4, ["--give-up-after", "address"], "pft-worker", address["jobs"], "--model",
                     TINY, "--give-up-after", "1")

    def test_a_server_that_is_no_coordinator(self):
        """It answers a status request and a worker's hello with noise."""
        noise = hashlib.shake_256(b"server").digest(3000)
        with zmtp.Server(self.path("s.sock"), noise) as server:
            address = "ipc://" + server.path
            self.refused("status: the reply is noise", FAILED, [address], "pft", "status", address)
            self.refused("worker: the coordinator talks noise", 4, ["--give-up-after"], "pft-worker",
                         address, "--model", TINY, "--give-up-after", "1")
            self.assertGreater(server.answered, 0)


def tearDownModule():
    name = os.environ.get("PFT_TABLE")
    if name:
        with open(name, "w", encoding="utf-8") as f:
            f.write("| input | exit | message |\n|---|---|---|\n")
            for what, code, said in TABLE:
                f.write(f"| {what} | {code} | {said.replace('|', chr(92) + '|')} |\n")


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=1)
