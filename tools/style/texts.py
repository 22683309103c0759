"""Checks of the pages: what they link to and the files that they name are there; how long they may be."""
import fnmatch
import os
import re

FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
SOURCE = re.compile(r"\.(?:md|h|cc|cu|cuh|inc|py|sh|toml|json|jsonl|cmake|svg|txt|safetensors)$")
QUOTED_NAME = r"`[A-Za-z_][\w:~]*(?:\(\))?`"
PLACED = re.compile(rf"({QUOTED_NAME}(?:(?:,|,? and|,? or)\s+{QUOTED_NAME})*)\s+\(`([\w./-]+)`")
NAME = re.compile(r"[A-Za-z_]\w*(?:::~?[A-Za-z_]\w*)*(?:\(\))?")
FOREIGN = ("STYLE.md", "docs/seed_map.md")  # there a name without :: may be an example, or one of another library
LADDER, PROVED = "tests/ladder/transport", "src/channel/contract.md"
README_WORDS_MAX = 1400  # as `wc -w` counts them
ARCHITECTURE_BYTES_MAX = 15_000
COLUMNS_MAX = 120
MADE = ("build/", "results.jsonl")  # not of the tree: what commands leave


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def headings_of(text):
    """(match, anchor) of each heading of a page, with the anchors that sites which show pages give."""
    seen = {}
    for heading in HEADING.finditer(FENCE.sub(blank, text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1))
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        yield heading, f"{anchor}-{count}" if count else anchor


def looks_like_a_path(span, tops):
    if not PATH.fullmatch(span) or span.startswith(MADE) or re.search(r"(?:^|[/_.])[A-Z]{4,}\b(?!\.md)", span):
        return False
    if SOURCE.search(span):
        return not span.startswith((".", "*."))
    return "/" in span and span.split("/")[0] in tops


def check_links(tree):
    places = set(tree.files) | set(tree.data)
    for path in list(places):
        while (path := os.path.dirname(path)):
            places.add(path)
    tops = {path for path in places if "/" not in path}
    ends = {}
    for place in places:
        ends.setdefault(os.path.basename(place), []).append("/" + place)

    def is_there(span):
        span = span.rstrip("/")
        if "*" in span:
            return any(fnmatch.fnmatchcase("/" + place, "*/" + span) for place in places)
        return any(place.endswith("/" + span) for place in ends.get(os.path.basename(span), ()))

    for page, text in sorted(tree.files.items()):
        if not page.endswith(".md"):
            continue
        shown = FENCE.sub(blank, text)

        def at(match, shown=shown):
            return shown.count("\n", 0, match.start()) + 1

        for match in LINK.finditer(SPAN.sub(lambda span: "`" + " " * (len(span.group()) - 2) + "`", shown)):
            target, _, anchor = match.group(1).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            place = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
            if place not in places:
                yield page, at(match), f"links to {target}, which is not there"
            elif anchor and anchor not in {one for _, one in headings_of(tree.files.get(place, ""))}:
                yield page, at(match), f"links to {place}#{anchor}, and no heading there gives that anchor"
        for match in SPAN.finditer(shown):
            if looks_like_a_path(match.group(1), tops) and not is_there(match.group(1)):
                yield page, at(match), f"names `{match.group(1)}`, which is not there"


def check_names(tree):
    """What a page names between back-quotes stands somewhere in the sources, if it looks like a name."""
    words = set()
    for path, text in tree.files.items():
        if not path.endswith(".md"):
            words.update(re.findall(r"[A-Za-z_]\w*", text))
    for page, text in sorted(tree.files.items()):
        if not page.endswith(".md"):
            continue
        shown = FENCE.sub(blank, text)
        for match in SPAN.finditer(shown):
            name = match.group(1)
            if not NAME.fullmatch(name) or (page in FOREIGN and "::" not in name):
                continue
            for word in re.findall(r"[A-Za-z_]\w*", name):
                if word not in words:
                    yield page, shown.count("\n", 0, match.start()) + 1, f"names `{name}`, and no source has {word}"


def check_placed_names(tree):
    """Names of a page with a path in brackets behind them, `name` (`folder/file.h`), stand in that file or folder."""
    for page, text in sorted(tree.files.items()):
        if not page.endswith(".md"):
            continue
        shown = FENCE.sub(blank, text)
        for match in PLACED.finditer(shown):
            place = "/" + match.group(2).rstrip("/")
            sources = [source for path, source in tree.files.items() if not path.endswith(".md")
                       and (f"/{path}".endswith(place) or f"{place}/" in f"/{path}")]
            words = {word for source in sources for word in re.findall(r"\w+", source)}
            for word in re.findall(r"\w+", " ".join(SPAN.findall(match.group(1)))):
                if sources and word not in words:
                    yield page, shown.count("\n", 0, match.start()) + 1, f"names {word} in {place[1:]}, which lacks it"


def check_rungs(tree):
    """The memory contract's table of what proves it has every rung of the transports' ladder."""
    rungs = {os.path.basename(path)[:2] for path in tree.files if re.match(rf"{LADDER}/\d\d_\w+\.cc$", path)}
    text = tree.files.get(PROVED, "")
    rows = list(re.finditer(r"^\| (\d\d) \|", text, re.MULTILINE))
    line = text.count("\n", 0, rows[0].start()) + 1 if rows else 1
    for rung in sorted(rungs ^ {row.group(1) for row in rows}):
        yield PROVED, line, f"rung {rung} is in its table of {LADDER} or in that folder, and must be in both"


def check_page_lengths(tree):
    """README and ARCHITECTURE are short enough for a reader with minutes; a line of a page, outside of tables and
    fences, fits a screen."""
    words = len(tree.files.get("README.md", "").split())
    if words > README_WORDS_MAX:
        yield "README.md", 1, f"{words} words, {README_WORDS_MAX} at most"
    size = len(tree.files.get("ARCHITECTURE.md", "").encode())
    if size > ARCHITECTURE_BYTES_MAX:
        yield "ARCHITECTURE.md", 1, f"{size} bytes, {ARCHITECTURE_BYTES_MAX} at most"
    for page, text in sorted(tree.files.items()):
        if not page.endswith(".md"):
            continue
        for number, line in enumerate(FENCE.sub(blank, text).split("\n"), 1):
            if len(line.rstrip()) > COLUMNS_MAX and not line.lstrip().startswith("|"):
                yield page, number, f"{len(line)} columns, {COLUMNS_MAX} at most"
