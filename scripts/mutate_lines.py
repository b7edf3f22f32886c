"""mutate_lines.py - the mutants of a C source file: one changed line each. No build, no tests; scripts/mutate runs them.

A mutant is (path, number of the line, kind, the line, the changed line). Only lines in functions are changed. Not changed:
comments and texts, CHECK and static_assert (they guard, they decide nothing), log lines and error texts, the release of
memory (a leak is what the sanitizer builds see), failpoints, declarations without a value; how many of one thing are
allocated (more is never seen), and the bound of a minimum or maximum (at the bound both are the same).
"""
import collections
import re

Mutant = collections.namedtuple("Mutant", "path line kind old new")

ARID = re.compile(r"(\(void\))?(CHECK|static_assert|log_event|log_limited|log_line|\w+_free|FAILPOINT\w*|assert|"
                  r"(return )?err_set|errbuf_\w+|fputs|printf|fprintf|snprintf\((text|e->text|line|why|reason)|"
                  r"dispatch_act\(d, (note|\(struct dispatch_action\)\{\.act = DISPATCH_NOTE)|va_start|va_end|PFT_\w+|case |default:|goto |struct errbuf|#)\b|\(void\)\w+;")
DECLARES = re.compile(r"\s*(static |const |unsigned |struct \w+ |enum \w+ |union |u?int\d*_t |u?int |size_t |ssize_t |bool "
                      r"|char |float |double |long |pid_t |uv_\w+ |sqlite3\w* |json_t )")
TOKENS = [  # what is found in a line without its texts, kind, what replaces it
    (r"(?<![<>=!-])<=", "bound", "<"), (r"(?<![<>=!-])>=", "bound", ">"),
    (r"(?<= )<(?= )", "bound", "<="), (r"(?<= )>(?= )", "bound", ">="),
    (r"(?<= )==(?= )", "condition", "!="), (r"(?<= )!=(?= )", "condition", "=="),
    (r"&&", "condition", "||"), (r"\|\|", "condition", "&&"),
    (r"(?<= )\+(?= )", "operator", "-"), (r"(?<=[\w)\]] )-(?= )", "operator", "+"),
    (r"(?<= )\*(?= )", "operator", "/"), (r"(?<= )/(?= )", "operator", "*"), (r"(?<= )%(?= )", "operator", "/"),
    (r"\+=", "operator", "-="), (r"(?<= )-=", "operator", "+="),
    (r"\+\+", "operator", "--"), (r"--", "operator", "++"),
    (r"(?<= )\|(?= )", "operator", "&"), (r"(?<=[\w)\]] )&(?= )", "operator", "|"),
    (r"(?<=[ (])!(?=[\w(*])", "condition", ""),
    (r"\btrue\b", "constant", "false"), (r"\bfalse\b", "constant", "true"),
    (r"(?<=return )OK(?=;)", "constant", "ERR_STATE"), (r"(?<=return )ERR_\w+(?=;)", "constant", "OK"),
    (r"(?<=return )NULL(?=;)", "constant", None),
]
NUMBER = re.compile(r"(?<![\w.])(\d+)([uUlL]*)(?![\w.])")
OPENS = {"(": ")", "[": "]", "{": "}"}


def masked(text):
    """The text with comments, strings and characters blanked, every place kept."""
    out, i = list(text), 0
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', re.S)
    for m in pattern.finditer(text):
        for i in range(m.start(), m.end()):
            if out[i] != "\n":
                out[i] = "_" if text[m.start()] in "\"'" else " "
    return "".join(out)


def statements(lines):
    """For every line in a function the number of the line on which its statement begins; None elsewhere."""
    begins, inside, at, depth = [None] * len(lines), False, None, 0
    for i, line in enumerate(lines):
        if line.startswith("{"):
            inside, at, depth = True, None, 0
            continue
        if line.startswith("}"):
            inside = False
        if not inside or not line.strip():
            continue
        at = i if at is None else at
        begins[i] = at
        depth += line.count("(") - line.count(")")
        if depth <= 0 and re.search(r"[;{}:]\s*$", line):
            at, depth = None, 0
    return begins


def operands(line):
    """(from, to) of what can be left out of a chain of && or ||, with its operator, on one line."""
    for m in re.finditer(r"&&|\|\|", line):
        depth, end = 0, m.end()
        while end < len(line):  # the right operand
            c = line[end]
            depth += c in "([{"
            depth -= c in ")]}"
            if depth < 0 or (depth == 0 and (line[end:end + 2] in ("&&", "||") or c in "?;,")):
                break
            end += 1
        if end < len(line):
            yield m.start(), end
        depth, begin = 0, m.start()
        while begin > 0:  # the left one
            c = line[begin - 1]
            depth += c in ")]}"
            depth -= c in "([{"
            if depth < 0 or (depth == 0 and (line[max(begin - 2, 0):begin] in ("&&", "||") or c in "?;,"
                                            or (c == "=" and line[begin - 2:begin + 1] == " = "))):
                break
            begin -= 1
        if line[begin:m.start()].strip().startswith("return "):
            begin = line.index("return ", begin) + 7
        if line[begin:m.start()].strip():
            yield begin, m.end() + (line[m.end():m.end() + 1] == " ")


def is_extreme(code, begin, end):
    """Is the comparison at begin to end that of `a < b ? a : b`, or the other way round?"""
    m = re.match(r" (.+?) \? (.+?) : (.+?)(?=[;,)]*$|[;,])", code[end:])
    if not m:
        return False
    right, one, two = m.groups()
    left = re.search(r"[\w\->.\[\]]+$", code[:begin].rstrip())
    return left is not None and {left.group(), right} == {one, two}


def whole_condition(code):
    """Place of the condition of an if or while that is all on its line."""
    m = re.match(r"\s*(?:\} else )?(if|while) \(", code)
    if not m:
        return None
    depth, end = 1, m.end()
    while end < len(code) and depth:
        depth += (code[end] == "(") - (code[end] == ")")
        end += 1
    return (m.end(), end - 1, m.group(1)) if depth == 0 else None


def changes(line, code, begins_here, ends_here):
    """(kind, changed line) of one line; code is the line with its texts blanked."""
    for pattern, kind, new in TOKENS:
        for m in re.finditer(pattern, code) if new is not None else ():
            if kind == "bound" and is_extreme(code, m.start(), m.end()):
                continue
            yield kind, line[:m.start()] + new + line[m.end():]
    for m in NUMBER.finditer(code):
        if code[:m.start()].endswith("mem_calloc("):
            continue
        yield "constant", line[:m.start()] + str(int(m.group(1)) + 1) + m.group(2) + line[m.end():]
        if int(m.group(1)) > 1:
            yield "constant", line[:m.start()] + str(int(m.group(1)) - 1) + m.group(2) + line[m.end():]
    for begin, end in operands(code):
        yield "condition", line[:begin] + line[end:]
    found = whole_condition(code)
    if found:
        begin, end, word = found
        yield "condition", line[:begin] + "false" + line[end:]
        if word == "if":
            yield "condition", line[:begin] + "true" + line[end:]
    m = re.search(r"\? ([^?:;]+) : ([^?:;,]+)(?=[;,)])", code)
    if m and m.group(2).count("(") == m.group(2).count(")"):
        yield "condition", line[:m.start()] + "? " + line[m.start(2):m.end(2)] + " : " + line[m.start(1):m.end(1)] + line[m.end():]
    bare = code.strip()
    if begins_here and not DECLARES.match(code) and not re.match(r"(return\b.|[})]|if |for |while |switch |else|do )", bare):
        indent = line[:len(line) - len(line.lstrip())]
        if ends_here and bare.endswith(";"):
            yield "dropped", indent + ";"
        elif not ends_here and re.match(r"(\(void\))?\w+\(|[\w\->.\[\]*]+ [-+|&]?= ", bare):
            yield "dropped", indent + "if (false) " + line.lstrip()


def mutants(path, text):
    """Every mutant of a file, in order."""
    lines, codes = text.split("\n"), masked(text).split("\n")
    begins = statements(codes)
    found = []
    for i, begin in enumerate(begins):
        if begin is None or ARID.match(codes[begin].strip()) or ARID.match(codes[i].strip()):
            continue
        ends_here = re.search(r"[;{}:]\s*$", codes[i]) is not None
        seen = {lines[i]}
        for kind, new in changes(lines[i], codes[i], begin == i, ends_here):
            if new not in seen:
                seen.add(new)
                found.append(Mutant(path, i + 1, kind, lines[i], new))
    return found
