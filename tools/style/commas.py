"""Commas between expressions: two statements on one line, of which the eye sees the first."""
import re

from . import cpp

ENDS = re.compile(r"[;{}]")
LABEL = re.compile(r"\s*(?:case\b[^:;]*(?:::[^:;]*)*|default|public|private|protected)\s*:(?!:)")
HEAD = re.compile(r"\s*(?:else\b|do\b|(?:if|while|switch|for)(?:\s+constexpr)?\s*(?=\())")
# A declaration has a type in front of its name.
DECLARES = re.compile(r"\s*(?:(?:using|typedef|template|enum|struct|class|friend|namespace|goto|extern)\b|"
                      r"(?:[\w:]+(?:<.*>)?[\s&*]+)+(?:\[[\w\s,&]*\]|\w)|[\w:]+<.*>\s*[&*]*\s+\w)", re.DOTALL)


def top_level_comma(text):
    """Whether a comma stands outside of all brackets; None if brackets do not match, as in the head of a `for`."""
    depth, found = 0, False
    for char in text:
        depth += (char in "([") - (char in ")]")
        if depth < 0:
            return None
        found |= char == "," and depth == 0
    return found if depth == 0 else None


def without_heads(statement):
    while True:
        match = LABEL.match(statement) or HEAD.match(statement)
        if match is None:
            return statement
        statement = statement[match.end():]
        if statement.startswith("("):
            statement = statement[cpp.closing(statement, 0, "(", ")"):]


def commas(code):
    """The index of each statement that is several expressions."""
    begin = 0
    for end in ENDS.finditer(code):
        statement, at, begin = code[begin : end.start()], begin, end.end()
        if end.group() != ";":
            continue
        rest = without_heads(statement)
        returns = re.match(r"\s*(?:return|throw)\b", rest)
        if returns is None and DECLARES.match(rest):
            continue
        text = re.sub(r"<[^<>;()]*>", "", rest)
        if not text.lstrip().startswith(",") and top_level_comma(text):
            yield at + len(statement) - len(rest.lstrip())


def check_commas(tree):
    for path, text in tree.cpp().items():
        if path.startswith(("include/", "src/", "cli/", "python/src/")):
            code = cpp.DIRECTIVE.sub(cpp.blank, cpp.code_of(text))
            for index in commas(code):
                yield path, cpp.line_of(code, index), "expressions behind each other, between commas: a statement each"
