"""A trained adapter in PEFT, on the base dequantised from the same GGUF.

Trains a few steps on a handful of scenarios, exports, loads the folder with PEFT and compares
logits with the engine's. The folder's chat template must render the prompt it was trained with.
"""

import json
import pathlib
import tempfile
import unittest

import support

SETTINGS = {
    "train.max_steps": "4",
    "train.batch_groups": "2",
    "train.learning_rate": "0.005",
    "eval.before": "false",
}


def programs():
    """pft, after a look that the two programs it starts exist as well."""
    support.program("pft-coordinator", "coordinator/main.c")
    support.program("pft-worker", "worker/main.c")
    return support.program("pft", "cli/main.c")


def train(folder):
    """A run of a few steps on the first starter scenarios; returns its folder."""
    pft = programs()
    data = support.ROOT / "data"
    for name, count in (("train", 6), ("test", 2)):
        path = data / f"starter_{name}.json"
        if not path.exists():
            support.skip(f"{path} does not exist")
        part = json.loads(path.read_text())[:count]
        (folder / f"{name}.json").write_text(json.dumps(part, ensure_ascii=False))
    run = folder / "run"
    settings = SETTINGS | {
        "model.path": str(support.model()),
        "data.train": str(folder / "train.json"),
        "data.test": str(folder / "test.json"),
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    config = support.ROOT / "configs/starter.yaml"
    support.run([pft, "run", config, "--workers", "1", "--out", run, *sets])
    return run


class AdapterTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tool = support.program("engine_tool", "tests/interop/engine_tool.c")
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        cls.run_folder = train(cls.folder)
        cls.adapter = cls.folder / "exported"
        support.run([programs(), "export", cls.run_folder, "--format", "peft", "--out", cls.adapter])
        cls.config = json.loads((cls.adapter / "adapter_config.json").read_text())
        cls.about = json.loads((cls.adapter / "pft.json").read_text())

    def engine(self, tree):
        from safetensors.numpy import load_file

        (self.folder / "tree.json").write_text(json.dumps(tree))
        short = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o"}
        short |= {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
        targets = [short[t] for t in self.config["target_modules"]]
        out = self.folder / "out.safetensors"
        support.run(
            [
                self.tool, "--model", support.model(), "--tree", self.folder / "tree.json",
                "--lora", self.adapter / "adapter_model.safetensors", "--out", out,
                "--r", str(self.config["r"]), "--alpha", str(self.config["lora_alpha"]),
                "--targets", ",".join(targets),
            ]
        )  # fmt: skip
        return load_file(str(out))

    def test_export_is_the_adapter_of_the_run(self):
        for name in ("adapter_model.safetensors", "adapter_config.json", "chat_template.jinja"):
            of_run = (self.run_folder / "adapter" / name).read_bytes()
            self.assertEqual(of_run, (self.adapter / name).read_bytes(), name)

    def test_logits_in_peft_equal_the_engine(self):
        import gguf_reference
        import numpy as np
        import peft
        import torch
        import tree_reference as ref

        source = gguf_reference.Gguf(support.model())
        scenario = json.loads((self.folder / "test.json").read_text())[0]
        values = {option["bias"] for option in scenario["options"]}
        sentences = {v: f"Such a person acts on '{v}'." for v in values}
        tokenizer = source.tokenizer()
        sequences = gguf_reference.scenario_sequences(tokenizer, scenario, sentences)
        tree = gguf_reference.trie(sequences)
        base = source.model()
        with torch.no_grad():
            plain = ref.run_tree(base, ref.Tree.of(tree), backward=False)
            wrapped = peft.PeftModel.from_pretrained(base, str(self.adapter)).eval()
            theirs = ref.run_tree(wrapped, ref.Tree.of(tree), backward=False)
        ours = self.engine(tree)
        self.assertEqual(ours["rows"].tolist(), theirs["rows"].tolist())
        gap = np.abs(ours["logits"] - theirs["logits"]).max()
        effect = np.abs(plain["logits"] - theirs["logits"]).max()
        print(f"logits with the adapter: largest difference {gap:.2e}; the adapter moved the "
              f"base's by up to {effect:.2e}")  # fmt: skip
        self.assertTrue(effect > 0.05, "the adapter hardly does anything: nothing was compared")
        self.assertTrue(gap <= 2e-3, gap)

    def test_chat_template_renders_the_trained_prompt(self):
        import gguf_reference
        from transformers import PreTrainedTokenizerFast

        tokenizer = gguf_reference.Gguf(support.model()).tokenizer()
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        fast.chat_template = (self.adapter / "chat_template.jinja").read_text()
        example = self.about["example"]
        messages = example["messages"]
        text = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        self.assertEqual(text, example["prompt"])
        self.assertTrue(text.endswith("<|im_start|>assistant\n"), text)
        answer = {"role": "assistant", "content": example["answer"]}
        whole = fast.apply_chat_template([*messages, answer], tokenize=False)
        self.assertTrue(whole.startswith(text + example["answer"] + "<|im_end|>"), whole)

    def test_names_and_config_are_those_of_peft(self):
        from safetensors.numpy import load_file

        tensors = load_file(str(self.adapter / "adapter_model.safetensors"))
        for name in tensors:
            self.assertRegex(name, r"^base_model\.model\.model\.layers\.\d+\.\w+\.\w+\.lora_[AB]\.weight$")
        self.assertEqual(len(tensors), 30 * len(self.config["target_modules"]) * 2)
        for key in ("peft_type", "task_type", "r", "lora_alpha", "target_modules", "bias"):
            self.assertIn(key, self.config)


if __name__ == "__main__":
    support.main()
