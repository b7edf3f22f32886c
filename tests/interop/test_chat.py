"""Our ChatML against the chat template inside the GGUF, rendered as transformers renders it.

With a system turn the texts are equal. Without one the template adds a system turn by itself: ours
equals its output less that block.
"""

import random
import unittest

import support

SEED = 3


def conversations():
    import text_samples

    rng = random.Random(SEED)

    def content():
        return text_samples.one(rng).replace("\x00", "")

    made = [
        [("user", "hi")],
        [("user", "")],
        [("system", "Be brief."), ("user", "hi")],
        [("system", ""), ("user", "x")],
        [("user", " spaces "), ("assistant", "\n\nlines\n"), ("user", "<|im_end|>\n")],
        [("user", "{{ message }} {% raw %} &amp; <b> \"q\" 'q' \\n")],
        [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
    ]
    for _ in range(500):
        turns = [("system", content())] if rng.random() < 0.4 else []
        for index in range(rng.randint(1, 5)):
            turns.append(("user" if index % 2 == 0 else "assistant", content()))
        made.append(turns)
    return [[{"role": r, "content": c} for r, c in turns] for turns in made]


class ChatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tool = support.program("chat_tool", "tests/interop/chat_tool.c")
        import gguf_reference
        from transformers import PreTrainedTokenizerFast

        source = gguf_reference.Gguf(support.model())
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=source.tokenizer())
        tokenizer.chat_template = source.field("tokenizer.chat_template")
        cls.tokenizer = tokenizer

    def expected(self, turns, generation):
        text = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=generation
        )
        if turns[0]["role"] == "system":
            return text
        block = self.tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
        block = block[: block.index("<|im_start|>user\n?")]
        self.assertTrue(block.startswith("<|im_start|>system\n"), block)
        self.assertTrue(text.startswith(block))
        return text[len(block) :]

    def check(self, generation):
        given = conversations()
        ours = support.json_lines([self.tool, *(["--generation"] if generation else [])], given)
        for turns, text in zip(given, ours, strict=True):
            self.assertEqual(text, self.expected(turns, generation), turns)
        print(f"{len(given)} conversations, seed {SEED}, generation header: {generation}")

    def test_rendered_turns(self):
        self.check(False)

    def test_rendered_turns_with_the_assistant_header(self):
        self.check(True)


if __name__ == "__main__":
    support.main()
