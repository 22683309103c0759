"""Which test tries which argument: a table is held against the signatures, and against the sources of the tests."""
import ast
import functools
import inspect
import pathlib
import re


@functools.cache
def _module(path):
    """{name: (source, names that it uses)} of what a file defines at its top."""
    text, found = path.read_text(encoding="utf-8"), {}
    for node in ast.parse(text).body:
        lines = [*getattr(node, "decorator_list", []), node]
        source = "\n".join(ast.get_source_segment(text, each) or "" for each in lines)
        inside = [each for line in lines for each in ast.walk(line)]
        used = {each.id for each in inside if isinstance(each, ast.Name)}
        used |= {each.arg for each in inside if isinstance(each, ast.arg)}  # fixtures
        targets = [each for target in getattr(node, "targets", []) for each in ast.walk(target)]
        names = [each.id for each in targets if isinstance(each, ast.Name)] or [getattr(node, "name", "")]
        for name in names:
            found[name] = source, used
    return found


def source_of(folder, name):
    """Of a test "file.test", with all that it uses of the files in its folder."""
    file, _, test = name.partition(".")
    first = folder / f"{file}.py"
    assert first.is_file() and test in _module(first), f"{name}: there is no such test in {folder}"
    files = [first, *sorted(set(folder.glob("*.py")) - {first})]
    text, wanted, seen = "", [test], set()
    while wanted:
        each = wanted.pop()
        home = next((path for path in files if each in _module(path)), None)
        if each in seen or home is None:
            continue
        seen.add(each)
        source, used = _module(home)[each]
        text += source + "\n"
        wanted += used
    return text


def of_function(function):
    """The names of its parameters."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def of_compiled(types, kind, method):
    """Those of a method of a class, as a .pyi file tells them."""
    classes = {getattr(node, "name", ""): node for node in ast.parse(types.read_text(encoding="utf-8")).body}
    (given,) = [node.args for node in classes[kind].body if getattr(node, "name", "") == method]
    return [each.arg for each in given.args + given.kwonlyargs if each.arg != "self"]


def check(folder, arguments, tests):
    """Every argument is tried by a test of the folder that names it. tests: {"file.test": "argument argument"}."""
    told = [argument for names in tests.values() for argument in names.split()]
    assert sorted(told) == sorted(arguments), "of these the table of tests has too many, or too few: " + " ".join(
        sorted(set(told) ^ set(arguments)) or told)
    for test, names in tests.items():
        source = source_of(pathlib.Path(folder), test)
        for argument in names.split():
            assert re.search(rf"\b{argument}\b", source), f"{test} does not name {argument}"
