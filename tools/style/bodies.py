"""A body that runs once for each lane writes a cell of its own lane and no variable of its role's."""
import re

from . import cpp

# The verbs whose bodies lanes run by themselves; those of `turns` are run by the whole warp, one after another.
VERB = re.compile(r"\.\s*(?:template\s+)?(each|per|where|wait_any|wait_all|publish|credit|scatter|copy|put)\b")
LAMBDA = re.compile(r"\[[&=\w\s,*]*\]\s*\(([^()]*)\)\s*(?:mutable\s*)?(?:->\s*[\w:<>,&*\s]+)?\{")
NAME = r"(?:\w+\s*(?:\.|->)\s*)*\w+"
WRITES = [
    re.compile(rf"(?<![\w.\])>\[])({NAME})\s*(?:[-+*/%|&^]|<<|>>)?=(?![=])"),
    re.compile(rf"(?:\+\+|--)\s*({NAME})\b(?!\s*(?:[\[(.]|->))"),
    re.compile(rf"(?<![\w.\])>])({NAME})\s*(?:\+\+|--)"),
]
DECLARATION = re.compile(r"(?:^|[;{}(])\s*(?:const\s+|constexpr\s+|static\s+)*(?!return\b|else\b|throw\b|delete\b)"
                         r"[A-Za-z_][\w:]*(?:<[^;{}]*?>)?(?:\s*[&*]+\s*|\s+)(?:const\s+)?"
                         r"(\w+(?:\s*(?:=[^;,(){}]*(?:\([^()]*\))?)?,\s*\w+)*)\s*(?=[={;:(\[)])")


def declared_in(body):
    names = set()
    for match in DECLARATION.finditer(body):
        names |= set(re.findall(r"(?:^|,)\s*(\w+)", match.group(1)))
    return names


def captured_writes(code):
    """(index, name, verb) for each variable that a lane's body writes and does not declare."""
    for verb in VERB.finditer(code):
        open_at = verb.end()
        if code[open_at : open_at + 1] == "<":
            open_at = cpp.closing(code, open_at, "<", ">")
        if code[open_at : open_at + 1] != "(":
            continue
        end = cpp.closing(code, open_at, "(", ")")
        for start in LAMBDA.finditer(code, open_at, end):
            begin = start.end() - 1
            body = code[begin : cpp.closing(code, begin, "{", "}")]
            own = declared_in(body) | set(re.findall(r"(\w+)\s*(?:,|$)", start.group(1)))
            for pattern in WRITES:
                for write in pattern.finditer(body):
                    if re.match(r"\w+", write.group(1)).group() not in own:
                        yield begin + write.start(1), write.group(1), verb.group(1)


def check_lane_bodies(tree):
    for path, text in tree.cpp().items():
        if path.startswith(("src/protocol/", "src/channel/", "src/layout/")):
            code = cpp.code_of(text)
            for index, name, verb in captured_writes(code):
                yield (path, cpp.line_of(code, index),
                       f"a body of {verb} writes {name}, which all lanes share: a Table, a Per or `turns` does it")
