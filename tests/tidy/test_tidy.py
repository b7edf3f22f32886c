"""The house rules as a test: includes, lengths, banned calls, names. Standard library only.

Each rule names the file, the line and the mend. A rule with exceptions lists them here, with a reason.
"""
import os
import re
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE_LINES, TEST_LINES, FUNCTION_LINES, COLUMNS = 600, 1000, 70, 100
FOLDERS = {"coordinator", "worker", "proto", "common", "configs", "scripts", "tests", "cli", "data",
           "docs", "cmake", ".ci"}

BANNED = {  # call -> what to use
    "malloc": "mem.h", "calloc": "mem.h", "realloc": "mem.h", "free": "mem_free",
    "strdup": "mem_strdup", "strndup": "mem_strndup", "asprintf": "str_addf",
    "strcpy": "snprintf or memcpy", "strcat": "str_add", "sprintf": "snprintf",
    "vsprintf": "vsnprintf", "strtok": "a loop over bytes", "atoi": "strtol with checks",
    "atol": "strtol with checks", "atof": "strtod with checks", "gets": "fgets",
    "system": "uv_spawn", "rand": "rng.h", "srand": "rng.h", "sleep": "a timer", "usleep": "a timer",
    "alloca": "mem.h", "assert": "CHECK",
}
# Folders (or files) in which a banned call is at home.
ALLOWED = {"malloc": ["common/base/mem.c"], "calloc": ["common/base/mem.c"],
           "realloc": ["common/base/mem.c"], "free": ["common/base/mem.c"]}

HOMES = [  # header pattern, where it may be included, why
    (r"zmq\.h", r"^(common/net/|coordinator/server|coordinator/status|worker/client|cli/status|tests/unit/common/net/|tests/bench/)",
     "ZeroMQ lives in common/net and the shells"),
    (r"uv\.h", r"^(common/net/|common/base/clock|coordinator/(server|status|main)|worker/(client|main)|cli/|tests/(unit|sim)/)",
     "libuv lives in common/net, clock and the shells"),
    (r".*\.pb-c\.h", r"^common/wire/", "generated messages are seen by common/wire alone"),
    (r"(cblas|dnnl|oneapi/.*)\.h", r"^worker/backend/", "matrix libraries live in worker/backend"),
    (r"sqlite3\.h", r"^coordinator/(journal|journal_\w+)\.[ch]$|^tests/", "SQLite is the journal's"),
    (r"coordinator/.*", r"^(coordinator|cli|tests)/", "only the coordinator, cli and tests"),
    (r"worker/.*", r"^(worker|tests)/", "only the worker and tests"),
    (r"cli/.*", r"^(cli|tests)/", "only cli and tests"),
]


def tracked():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                         capture_output=True, check=False)
    if out.returncode != 0:  # a source archive without git
        found = []
        for folder, _, names in os.walk(ROOT):
            found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
        return [f for f in found if not f.startswith(("build/", "runs/", ".git/"))]
    return [f for f in out.stdout.splitlines() if os.path.exists(os.path.join(ROOT, f))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def without_comments_and_strings(text):
    """Blanks comments and literals, keeping every newline."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


class Tidy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = tracked()
        cls.c_files = [f for f in cls.files if f.endswith((".c", ".h"))]
        print(f"tidy: {len(cls.files)} files, {len(cls.c_files)} of C")

    def fail_with(self, problems):
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_files_keep_to_their_length_and_columns(self):
        problems = []
        for path in self.c_files:
            lines = read(path).split("\n")
            limit = TEST_LINES if path.startswith("tests/") else FILE_LINES
            if len(lines) > limit + 1:
                problems.append(f"{path}: {len(lines)} lines, at most {limit}: split it by noun")
            for number, line in enumerate(lines, 1):
                if len(line) > COLUMNS:
                    problems.append(f"{path}:{number}: {len(line)} columns, at most {COLUMNS}")
                if "\t" in line or line != line.rstrip():
                    problems.append(f"{path}:{number}: tab or trailing space")
        self.fail_with(problems)

    def test_functions_keep_to_their_length(self):
        problems = []
        for path in self.c_files:
            start = None
            for number, line in enumerate(read(path).split("\n"), 1):
                if line == "{":
                    start = number
                elif line == "}" and start:
                    if number - start - 1 > FUNCTION_LINES:
                        problems.append(f"{path}:{start}: a function of {number - start - 1} lines, "
                                        f"at most {FUNCTION_LINES}")
                    start = None
        self.fail_with(problems)

    def test_banned_calls_are_not_used(self):
        problems = []
        pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
        for path in self.c_files:
            for number, line in enumerate(without_comments_and_strings(read(path)).split("\n"), 1):
                for match in pattern.finditer(line):
                    call = match.group(1)
                    if not any(path.startswith(home) for home in ALLOWED.get(call, [])):
                        problems.append(f"{path}:{number}: {call}() is banned, use {BANNED[call]}")
        self.fail_with(problems)

    def test_headers_are_included_only_where_they_are_at_home(self):
        problems = []
        for path in self.c_files:
            for number, line in enumerate(read(path).split("\n"), 1):
                match = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
                for header, home, why in HOMES if match else []:
                    if re.fullmatch(header, match.group(1)) and not re.match(home, path):
                        problems.append(f"{path}:{number}: {match.group(1)}: {why}")
                if match and '"' in line and "/" not in match.group(1) and ".pb-c.h" not in line:
                    problems.append(f"{path}:{number}: include from the repository root")
        self.fail_with(problems)

    def test_every_event_of_dispatch_first_looks_for_a_stall_of_our_own(self):
        """Else what comes first after one is judged by deadlines that the stall has eaten."""
        events = re.findall(r"\b(dispatch_\w+)\(struct dispatch \*d,[^;]*now_ns\)?[^;]*;",
                            read("coordinator/dispatch.h"))
        code = "\n".join(read(f) for f in self.c_files if re.match(r"coordinator/(dispatch|settle)\w*\.c", f))
        problems = []
        for name in events:
            body = re.search(rf"\n[\w ]+[ *]{name}\([^{{]*\)\n\{{\n(.*?)\n\}}", code, re.S)
            if not body or "dispatch_wake(d, now_ns);" not in body.group(1):
                problems.append(f"{name}: does not call dispatch_wake")
        self.assertGreater(len(events), 15)
        self.fail_with(problems)

    def test_pure_modules_know_no_clock_no_log_and_no_sockets(self):
        pure = ["plan", "queue", "lease", "roster", "reduce", "adamw", "schedule", "forecast",
                "forecast_worker", "forecast_link", "task_list", "posterior", "drift", "temperature", "users",
                "value_scores", "trial", "trial_change", "infer"]
        paths = [f"coordinator/{name}.c" for name in pure] + ["worker/agent.c"]
        problems = [f"{path}: includes {header}, but its decisions are pure"
                    for path in paths if path in self.c_files
                    for header in ("common/base/log.h", "common/base/clock.h", "common/net/", "time.h")
                    if re.search(r'#include [<"]' + re.escape(header), read(path))]
        self.fail_with(problems)

    def test_failpoints_are_those_of_the_list_each_in_one_place(self):
        listed = re.findall(r'X\("([a-z_.]+)"', read("common/base/failpoint.h"))
        used = [name for path in self.c_files if not path.startswith("tests/")
                for name in re.findall(r'\bFAILPOINT(?:_FAILS)?\("([a-z_.]+)"\)', read(path))]
        self.assertEqual(sorted(used), sorted(listed))

    def test_every_c_file_says_what_it_owns_and_names_are_unique(self):
        problems, seen = [], {}
        for path in self.c_files:
            name = os.path.basename(path)
            if not read(path).startswith(f"/* {name} - "):
                problems.append(f"{path}: must begin with '/* {name} - what it is'")
            if name in seen and name != "main.c":
                problems.append(f"{path}: the name is taken by {seen[name]}")
            seen[name] = path
        self.fail_with(problems)

    def test_the_table_of_faults_names_tests_that_are_there(self):
        problems, names = [], 0
        for number, line in enumerate(read("docs/faults.md").splitlines(), 1):
            path = None
            for name in re.findall(r"`([^`]+)`", line.split(" | ")[-1] if line.startswith("| ") else ""):
                if ": " in name or name.startswith(("unit/", "e2e/")):
                    path, _, name = name.partition(": ")
                    path = next((p for p in (f"tests/{path}.py", f"tests/{path}.c") if p in self.files), None)
                    if not path:
                        problems.append(f"docs/faults.md:{number}: no such file")
                if name.startswith("test_"):
                    names += 1
                    if not path or not re.search(rf"\b{name}\b", read(path)):
                        problems.append(f"docs/faults.md:{number}: {name} is not in {path}")
        self.assertFalse(problems, "\n" + "\n".join(problems))
        self.assertGreater(names, 20)

    def test_nothing_unfinished_and_nothing_of_this_machine_is_in_the_tree(self):
        words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|not imple" r"mented")
        places = re.compile(r"/wo" r"rk/|/tmp/ba" r"sh_jobs|(py" r"pi|deb\.deb" r"ian|pythonho" r"sted)\.org")
        problems = []
        for path in self.files:
            if path == "LICENSE" or not re.search(r"\.(c|h|py|sh|md|yaml|yml|txt|cmake|proto|json)$|Makefile|scripts/", path):
                continue
            for number, line in enumerate(read(path).split("\n"), 1):
                if words.search(line) or places.search(line):
                    problems.append(f"{path}:{number}: {line.strip()[:80]}")
        self.fail_with(problems)

    def test_the_top_level_holds_only_the_agreed_folders(self):
        tops = {f.split("/")[0] for f in self.files if "/" in f}
        self.fail_with([f"{t}/: not an agreed top-level folder" for t in sorted(tops - FOLDERS)])


if __name__ == "__main__":
    unittest.main(verbosity=1)
