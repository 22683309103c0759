"""Measured lines that are kept in bench/baselines, and the figures of README that stand on them."""
import json
import math
import re

FOLDER = "bench/baselines/"
FIGURE = re.compile(r"\*\*(\d+)\*\*")
PROGRAM = re.compile(r"\b(?:bench_(\w+)|bench/(\w+)\.py)")
ORDER = ("min", "median", "p90", "max")


def numbers_of(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers_of(one)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def fault_of(line, programs):
    """What is wrong with a line; None if nothing is."""
    try:
        measured = json.loads(line)
    except ValueError as error:
        return f"no JSON: {error}"
    if not isinstance(measured, dict) or not isinstance(measured.get("case"), str):
        return "no object with a case"
    if not all(math.isfinite(number) and number >= 0 for number in numbers_of(measured)):
        return "a figure below 0, or none"
    for name, value in measured.items():
        if isinstance(value, dict) and not name.startswith("over"):
            ascending = [value[key] for key in ORDER if key in value]
            if ascending != sorted(ascending):
                return f"{name}: not in the order {', '.join(ORDER)}"
    named = PROGRAM.findall(measured.get("command", ""))
    if "command" in measured and not any((one or other) in programs for one, other in named):
        return f"a command of no program of bench: {measured['command']}"
    return None


def check_baselines(tree):
    sources = (re.fullmatch(r"bench/(\w+)\.(?:cc|cu|py)", path) for path in tree.files)
    programs = {source.group(1) for source in sources if source}
    pages = "".join(text for path, text in tree.files.items() if path.startswith("docs/") and path.endswith(".md"))
    medians = set()
    for path, text in tree.files.items():
        if not path.startswith(FOLDER):
            continue
        if path not in pages:
            yield path, 1, "no page names it"
        for number, line in enumerate(text.splitlines(), 1):
            if fault := fault_of(line, programs):
                yield path, number, fault
            else:
                medians |= {round(value["median"]) for value in json.loads(line).values()
                            if isinstance(value, dict) and "median" in value}
    readme = tree.files.get("README.md", "")
    for number, line in enumerate(readme.splitlines(), 1):
        for figure in FIGURE.findall(line) if line.startswith("|") else ():
            if int(figure) not in medians:
                yield "README.md", number, f"{figure} is the median of no line of {FOLDER}"
