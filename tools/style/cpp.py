"""Reads C++ well enough for style: text without comments and strings, functions with their lines and parameters."""
import functools
import re

COMMENT_OR_STRING = re.compile(
    r'R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])\'(?:\\.|[^\'\\\n])+\'|'
    r"//[^\n]*|/\*.*?\*/",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
CONTAINER = re.compile(r"^(?:template\s*<.*>\s*)?(?:inline\s+|export\s+|typedef\s+|static\s+|constexpr\s+)*"
                       r"(?:namespace|class|struct|union|enum)\b(?!.*\)\s*$)|^extern\s*$", re.DOTALL)
FUNCTION_END = re.compile(r"(?:\)|\)\s*(?:const|noexcept|override|final|mutable|&|\s)+|->\s*[\w:<>,&*\s]+|\btry|"
                          r"\)\s*:[^;]*[)}])\s*$", re.DOTALL)
NOT_A_FUNCTION = re.compile(r"^\s*(?:using|typedef|static_assert|friend|return|public|private|protected)\b|\bconcept\b")
WORDS_WITH_PARENS = re.compile(r"\b(?:alignas|decltype|noexcept|requires|explicit|__attribute__|sizeof)\s*\(")


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


@functools.cache  # many checks ask for the same files
def code_of(text):
    """The text with comments and the insides of strings blanked; lines and columns stay."""
    return COMMENT_OR_STRING.sub(lambda m: '""' + blank(m)[2:] if m.group()[0] in "\"R" else blank(m), text)


def line_of(text, index):
    return text.count("\n", 0, index) + 1


def closing(text, at, open_char, close_char):
    """The index after the bracket that closes the one at `at`, or the end."""
    depth = 0
    for index in range(at, len(text)):
        if text[index] == open_char:
            depth += 1
        elif text[index] == close_char:
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def without_template(head):
    head = head.strip()
    while head.startswith("template"):
        start = head.find("<")
        if start < 0:
            break
        head = head[closing(head, start, "<", ">"):].strip()
    return head


def parameters_of(head):
    """(name, number of parameters) of a function's head, or None if it is none. Who acts, W& w, and the tag of vectors,
    D d, do not count."""
    head = without_template(head.replace("operator()", "operator_call"))
    head = re.sub(r"\[\[.*?\]\]", "", head, flags=re.DOTALL)
    while (match := WORDS_WITH_PARENS.search(head)) is not None:
        head = head[: match.start()] + head[closing(head, match.end() - 1, "(", ")"):]
    match = re.search(r"([~\w:]+|operator\S+)\s*\(", head)
    if match is None or NOT_A_FUNCTION.search(head) or "=" in head[: match.start()]:
        return None
    inside = head[match.end() : closing(head, match.end() - 1, "(", ")") - 1].strip()
    if inside in ("", "void"):
        return match.group(1), 0
    inside = re.sub(r"^(?:W& \w+|D d),", "", inside)
    depth, commas = 0, 0
    for char in inside.replace("->", "  "):
        depth += (char in "<([{") - (char in ">)]}")
        commas += char == "," and depth == 0
    return match.group(1), commas + 1


class Function:
    def __init__(self, head, first_line, last_line):
        self.head, self.first_line, self.last_line = head, first_line, last_line


@functools.cache
def functions_of(text):
    """Definitions and declarations at namespace and class scope. A declaration ends on the line where it begins."""
    code = DIRECTIVE.sub(blank, code_of(text))
    found, begin, at = [], 0, 0
    parens = 0

    def line(index):
        return code.count("\n", 0, index) + 1

    def head_start(index):
        while index < len(code) and code[index].isspace():
            index += 1
        return index

    while at < len(code):
        char = code[at]
        parens += (char == "(") - (char == ")")
        if parens > 0:
            at += 1
            continue
        if char == ";" or char == "}":
            head = code[begin:at].strip()
            if char == ";" and head.find("(") > 0:
                start = line(head_start(begin))
                found.append(Function(head, start, start))
            begin = at + 1
        elif char == ":" and code[begin:at].strip() in ("public", "private", "protected"):
            begin = at + 1
        elif char == "{":
            head = code[begin:at].strip()
            end = closing(code, at, "{", "}")
            if CONTAINER.search(head):
                begin = at + 1
            elif FUNCTION_END.search(head) and not NOT_A_FUNCTION.search(head):
                found.append(Function(head, line(head_start(begin)), line(end - 1)))
                begin, at = end, end - 1
            else:
                at = end - 1  # an initialiser: its statement goes on
        at += 1
    return found
