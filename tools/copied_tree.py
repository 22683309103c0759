"""A copy of the tree in a build folder, in which some texts are replaced. The old text and each new one are branches,
and a process decides which of them runs. tools/mutations and tools/canaries use it."""
import dataclasses
import glob
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPIED = "CMakeLists.txt", "cmake", "src", "include", "cli", "sim", "tests", "tools", "examples"


HALF = re.compile(r"(?:if|else|for|while|do|return|throw)\b|[-+*/|&^]?=|[<>|,?:]|&&")  # begins no expression
DECLARES = re.compile(r"(?:const )?(?!return\b|delete\b|throw\b)[\w:<>]+[ &*]+\w+ = ")


class Wrong(Exception):
    """A list says something that is not so."""


@dataclasses.dataclass
class Change:
    """In `file`, inside of `at`, `old` becomes `new` where `condition` holds; without a condition, always. An
    expression, or statements where `old` ends like one. `include` is what the condition needs."""
    name: str
    file: str
    old: str
    new: str
    at: str = ""
    condition: str = ""
    include: str = ""

    @property
    def statement(self):
        return self.old.endswith((";", "}"))

    def span(self, text):
        """Where `old` lies in the text of its file."""
        around = self.at or self.old
        for outer, inner, where in ((text, around, self.file), (around, self.old, "`at`")):
            if outer.count(inner) != 1:
                raise Wrong(f"{self.name}: {inner!r} is {outer.count(inner)} times in {where}, must be once")
        begin = text.index(around) + around.index(self.old)
        before = re.sub(r"//.*", "", text[:begin]).rstrip()
        if self.condition and self.old.endswith((";", "}")) and not before.endswith((";", "{", "}", ")", ":", "else")):
            raise Wrong(f"{self.name}: {self.old!r} is no whole statement, it follows {before.splitlines()[-1]!r}")
        if self.condition and not self.statement and (not self.new.strip() or HALF.match(self.old)):
            raise Wrong(f"{self.name}: {self.old!r} is no expression, or becomes none, and ends like no statement")
        if self.condition and self.statement and DECLARES.match(self.old):
            raise Wrong(f"{self.name}: {self.old!r} declares a name, which its branch would keep to itself")
        return begin, begin + len(self.old)


def switched(old, changes):
    """The text that these changes make of `old`."""
    always = [change.new for change in changes if not change.condition]
    if always:
        if len(changes) > 1:
            raise Wrong(f"{changes[0].name}: what always changes lies over the text of {changes[1].name}")
        return always[0]
    if changes[0].statement:
        text = "{ " + old + " }"
        for change in reversed(changes):
            text = f"if ({change.condition}) {{ {change.new} }} else {text}"
        return text
    text = f"({old})"
    for change in reversed(changes):
        text = f"({change.condition} ? ({change.new}) : {text})"
    return text


def changed(changes):
    """By path, the text of each file that has changes, with all of its changes."""
    by_file = {}
    for change in changes:
        by_file.setdefault(change.file, []).append(change)
    files = {}
    for path, listed in by_file.items():
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        spans = {}
        for change in listed:
            spans.setdefault(change.span(text), []).append(change)
        following = len(text)
        for (begin, end), here in sorted(spans.items(), reverse=True):
            if end > following:
                raise Wrong(f"{here[0].name}: overlaps another change of {path}, and is not of the same text")
            text = text[:begin] + switched(text[begin:end], here) + text[end:]
            following = begin
        for name in sorted({change.include for change in listed if change.include}):
            text = text.replace("#include", f'#include "{name}"\n#include', 1)
        files[path] = text
    return files


def write_if_other(path, data):
    """Leaves a file with the same bytes as it is, so that nothing is compiled for it."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == data:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


class Build:
    """The copy in `home`, and what is built of it there."""

    def __init__(self, home):
        self.tree, self.folder = os.path.join(home, "tree"), os.path.join(home, "build")

    def make(self, changes, options, targets):
        self.copy(changed(changes))
        options = {"CMAKE_BUILD_TYPE": "Release", "CMAKE_CXX_COMPILER": "g++", "TRANSLOAD_CUDA": "OFF", **options}
        configure = ["cmake", "-S", self.tree, "-B", self.folder, "-G", "Ninja"]
        configure += [f"-D{name}={value}" for name, value in options.items()]
        build = ["cmake", "--build", self.folder, "-j", str(os.cpu_count()), "--target", *targets]
        for command in configure, build:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                raise Wrong(f"{done.stdout[-6000:]}\n{' '.join(command[:2])} ..: exit status {done.returncode}")

    def copy(self, files):
        wanted = set()
        for top in COPIED:
            found = [os.path.join(ROOT, top)]
            if os.path.isdir(found[0]):
                found = [path for path in glob.glob(f"{found[0]}/**", recursive=True) if os.path.isfile(path)]
            for path in found:
                name = os.path.relpath(path, ROOT)
                wanted.add(name)
                with open(path, "rb") as file:
                    data = file.read()
                write_if_other(os.path.join(self.tree, name), files[name].encode() if name in files else data)
        for path in glob.glob(f"{self.tree}/**", recursive=True):
            if os.path.isfile(path) and os.path.relpath(path, self.tree) not in wanted:
                os.remove(path)
