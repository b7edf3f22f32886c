"""Varied strings for tokenizer comparisons: a fixed list, then as many seeded ones as asked."""

from __future__ import annotations

import random

FIXED = [
    "", " ", "  ", "\n", "\n\n", " \n ", "\t", "\r\n", "a", " a", "  a", "a ", "a  ", "a \n b",
    "Hello world", "Hello  world", "   lead", "trail   ", "one\n\n\ntwo", "tab\tsep\t\tx",
    "I'll we've don't they're he's I'm she'd it's", "I'LL WE'VE DON'T", "'s't're've'm'll'd",
    "rock 'n' roll", "''s", "can\u2019t", "x's", " 's", "5's", "'", "''", "' s",
    "1", "12", "123", " 1", "  12", "a1b2", "3.14", "1,000,000", "v2.0-rc1", "1st 2nd", "$5.00",
    "5 5", "5  5", "7\n8", "\u0661\u0662\u0663", "\u0967\u0968", "\u00b2\u00b3\u00b9", "\u2160\u2161 \u2167",
    "\u00bd \u2153", "\u3007\u4e00", "\U0001d7d8\U0001d7e2", "\u2460\u2461", "\uff11\uff12",
    "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "<|im_end|>", "a<|im_end|>b", "<|im_",
    "<repo_name>x<file_sep>", " <|im_start|> ",
    "\u00e9", "e\u0301", "\u1e69", "s\u0323\u0307", "\u00c5 A\u030a", "n\u0303o", "\u0915\u094d\u0937\u093f",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u65e5\u672c\u8a9e\u3092\u8a71\u3059", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u202eabc\u202c",
    "\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "x\U0001f600y",
    "\u2764\ufe0f", "1\ufe0f\u20e3", "\u00a0", "a\u00a0b", "\u2003\u2003a", "\u3000x", "\u2028", "\u2029a",
    "\u0085", "a\u0085b", "\u200b", "a\u200bb", "\ufeffx", "\u180e", "\x00", "a\x00b", "\x01\x02",
    "\x1b[0m", "\x7f", "\x1c\x1d\x1e\x1f", "\x0b\x0c", "\ufffd", "\ufffe", "\uffff", "\U0010ffff",
    "\ue000", "\U000e0041", "!!!", "?!?", "...", " ...", "--", "a-b", "a_b", "__init__", "#$%&",
    "http://a.b/c?d=e&f=g#h", "e-mail: a.b@c.org", "if (x == 1) {\n    y();\n}", "\\n \\t",
    "\"quoted\"", "\u201cquoted\u201d", "\u2026", "\u2014 dash", "\u20ac5", "a\u00adb", "\u00aa\u00ba", "\u02b0",
    "\u01c5", "\u0345", "\u2180", "\u16ee", "\ua6e6", "\u3021", "\U00010140", "\U0001e900", "\U0001f130",
]  # fmt: skip

# (first, last) code points. Every class the pre-tokenizer tells apart, in many scripts.
RANGES = {
    "ascii": [(0x20, 0x7E)],
    "lower": [(0x61, 0x7A)],
    "digits": [(0x30, 0x39)],
    "latin": [(0xC0, 0x24F), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7B7)],
    "greek_cyrillic": [(0x370, 0x373), (0x386, 0x3E1), (0x400, 0x52F), (0x1F00, 0x1F15)],
    "hebrew_arabic": [(0x5D0, 0x5EA), (0x591, 0x5C7), (0x620, 0x6D3), (0xFB50, 0xFBB1)],
    "indic": [(0x904, 0x97F), (0x985, 0x98C), (0xA05, 0xA0A), (0xB85, 0xB8A), (0xC05, 0xC0C)],
    "south_east_asia": [(0xE01, 0xE3A), (0xE40, 0xE4E), (0xE81, 0xE82), (0x1000, 0x104F)],
    "cjk": [(0x4E00, 0x9FA5), (0x3400, 0x4DB5), (0x20000, 0x2A6D6), (0xF900, 0xFA2D)],
    "kana": [(0x3041, 0x3096), (0x30A1, 0x30FA), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)],
    "hangul": [(0xAC00, 0xD7A3), (0x1100, 0x11FF)],
    "other_digits": [
        (0x660, 0x669), (0x6F0, 0x6F9), (0x966, 0x96F), (0xE50, 0xE59), (0xFF10, 0xFF19),
        (0x1D7CE, 0x1D7FF), (0x2460, 0x249B), (0x2150, 0x2189), (0xB2, 0xB3), (0x3021, 0x3029),
        (0x104A0, 0x104A9), (0x1F100, 0x1F10C), (0x10107, 0x10133), (0x12400, 0x1246E),
    ],
    "combining": [(0x300, 0x36F), (0x1AB0, 0x1ABD), (0x20D0, 0x20F0), (0xFE20, 0xFE2F)],
    "space": [
        (0x20, 0x20), (0x9, 0xD), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
        (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000),
    ],
    "control": [(0x0, 0x8), (0xE, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0x202A, 0x202E)],
    "symbols": [(0xA1, 0xBF), (0x2010, 0x2027), (0x20A0, 0x20BF), (0x2190, 0x23FE), (0x2500, 0x27BF)],
    "emoji": [(0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF), (0x1F3FB, 0x1F3FF), (0x200D, 0x200D), (0xFE0F, 0xFE0F)],
    "maths_letters": [(0x1D400, 0x1D454), (0x1D538, 0x1D539), (0x2100, 0x214F)],
    "private": [(0xE000, 0xE0FF), (0xF0000, 0xF00FF), (0x10FFF0, 0x10FFFD)],
    "any": [(0x0, 0xD7FF), (0xE000, 0x10FFFF)],
}  # fmt: skip

SNIPPETS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<|im_start|>assistant\n", "'s", "'t", "'re",
    "'ve", "'m", "'ll", "'d", "'S", "\u2019s", "  ", "   ", "        ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ",
    "The", " the", " and", "tion", "ing ", "Hello", "2026", "3.5%", "100,000", "e.g.", "--", "...", "(", ")", "\u0000",
]  # fmt: skip


def pick(rng, name):
    first, last = rng.choice(RANGES[name])
    return chr(rng.randint(first, last))


def one(rng):
    """One string: runs of single classes, words, snippets and wild mixes, 1 to about 120 long."""
    parts = []
    names = list(RANGES)
    for _ in range(rng.randint(1, 8)):
        kind = rng.randrange(6)
        if kind == 0:
            parts.append(rng.choice(SNIPPETS))
        elif kind == 1:
            name = rng.choice(names)
            parts.append("".join(pick(rng, name) for _ in range(rng.randint(1, 12))))
        elif kind == 2:
            parts.append("".join(pick(rng, rng.choice(names)) for _ in range(rng.randint(1, 10))))
        elif kind == 3:
            words = ["".join(pick(rng, "lower") for _ in range(rng.randint(1, 9)))]
            words += ["".join(pick(rng, "digits") for _ in range(rng.randint(1, 5)))]
            parts.append(rng.choice([" ", "  ", "\n", "-", ""]).join(words))
        elif kind == 4:
            parts.append(pick(rng, "space") * rng.randint(1, 6))
        else:
            parts.append(pick(rng, rng.choice(["ascii", "latin", "symbols", "combining", "emoji"])))
    return "".join(parts)


def samples(seed, count):
    rng = random.Random(seed)
    return (FIXED + [one(rng) for _ in range(max(0, count - len(FIXED)))])[:count]
