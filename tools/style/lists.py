"""Lists: of more than four values, where two neighbours that are swapped may compile, so they name what they fill; and
of texts that a number chooses from, where one may be missing."""
import re

from . import cpp

PLAIN_MAX = 4
# Values that need no name: a designated value, a list in braces with its type, a lambda.
NAMED = re.compile(r"\s*(?:\.\w+\s*=|[\w:]+(?:<[^{}]*>)?\s*\{|\[[&=\w, ]*\]\s*[({])")
# A list in braces without its type is told by its place. Where all values are such lists they are a table's rows.
ROW = re.compile(r"\s*\{")
WORDS = re.compile(r'\s*""\s*')
# Lists whose places mean the same: arrays and other sequences, enums, loops over values.
SAME_KIND = re.compile(r"\]\s*=?\s*$|\b(?:vector|array|initializer_list|set|map|span)\s*<[^;]*$|"
                       r"\b(?:max|min)\s*\(\s*$|\bfor\s*\([^;{]*:\s*$|\benum\b|\b(?:node_sizes|words)\s*=?\s*$")


def elements_of(inside):
    depth, found, begin = 0, [], 0
    text = inside.replace("->", "..")
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            found.append(inside[begin:index])
            begin = index + 1
    return found + [inside[begin:]] if inside[begin:].strip() else found


def positional_lists(code):
    """(index, number of values) for each list in braces that has too many which do not name themselves."""
    for match in re.finditer(r"\{", code):
        inside = code[match.end() : cpp.closing(code, match.start(), "{", "}") - 1]
        if ";" in inside:
            continue
        elements = elements_of(inside)
        plain = sum(NAMED.match(element) is None for element in elements)
        if all(map(ROW.match, elements)):
            continue
        before = re.split(r"[;{}]", code[max(0, match.start() - 240) : match.start()])[-1]
        if plain > PLAIN_MAX and not SAME_KIND.search(before) and not all(map(WORDS.fullmatch, elements)):
            yield match.start(), plain


def check_positional_lists(tree):
    for path, text in tree.cpp().items():
        if path.startswith(("include/", "src/", "cli/")):
            code = cpp.DIRECTIVE.sub(cpp.blank, cpp.code_of(text))
            for index, plain in positional_lists(code):
                yield (path, cpp.line_of(code, index),
                       f"a list of {plain} values: over {PLAIN_MAX} are named, {{.name = value, ...}}")


TEXTS = re.compile(r"\bconst char\s*\*\s*(?:const\s+)?(\w+)\[\]\s*=\s*\{")


def check_numbered_texts(tree):
    sources = {path: cpp.code_of(text) for path, text in tree.cpp().items() if not path.startswith("tests/unit/")}
    for path, code in sources.items():
        for match in TEXTS.finditer(code):
            name = match.group(1)
            by_number = re.compile(rf"\b{name}\[(?!\])")
            counted = re.search(rf"static_assert\([^;]*\b{name}\b[^;]*;|std::size\([\w:<>]*::{name}\)|"
                                rf"< std::size\({name}\)", code)
            if not counted and any(by_number.search(other) for other in sources.values()):
                yield path, cpp.line_of(code, match.start()), (
                    f"a number chooses from the texts of {name}: static_assert how many there are")
