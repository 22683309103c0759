"""The checks of tools/tidy. Each takes a Tree and yields (path, line, message)."""
import ast
import concurrent.futures
import os
import re
import subprocess

from . import baselines, bodies, commas, cpp, includes, lists, texts
from .cpp import line_of

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
COLUMNS_MAX = 120
PARAMETERS_MAX = 4  # besides who acts, W& w, and the tag of vectors, D d

# In reading order, which is the order of dependence: a folder includes only from those before it.
LAYERS = ["base", "layout", "channel", "protocol", "reference", "os", "executor", "gpu", "transport", "kernels",
          "control", "runtime", "sim", "cli", "python"]
# Rooms of a layer, in the same order; what lies right in its folder stands between none of them.
ROOMS = {
    "sim": ["model", "scenario", "checkers", "world", "explain", "run", "walks", "time"],
    "runtime": ["network", "call", "host", "cuda"],
}
FORBIDDEN_PAIRS = {
    "reference": {"layout": "the oracle shares nothing but base with what it judges",
                  "channel": "the oracle shares nothing but base with what it judges",
                  "protocol": "the oracle shares nothing but base with what it judges"},
    "transport": {"executor": "a transport must not know who runs it"},
    "python": {"sim": "the module holds what the library does", "cli": "the module holds what the library does"},
}

# Functions that may have more parameters, with the reason.
MANY_PARAMETERS = {
    "include/transload/tensor.h:matrix": "the device is mostly left out",
    "src/executor/cuda/reduce.cuh:sum": "the step that frees a stage is a type of its caller's",
}

BELOW_THE_SEAM = re.compile(
    r"std::atomic|\batomic_\w+|\bmemory_order\w*|\bvolatile\b|\bthreadIdx\b|\bblockIdx\b|\bblockDim\b|\b__shfl\w*|"
    r"\b__sync\w*|\b__ballot\w*|\b__atomic\w*|\b__(?:global|device|shared)__|\basm\b|\b__asm\w*|\bpthread\w*|"
    r"\bHostMemory\b|\bModelMemory\b|\bCudaWarp\b|\bFiberWarp\b|\bcuda\w*|\bCU[a-z]\w+|\b_mm\d*_\w+|"
    r"\bepoll\w*|\bmmap\b|\bmunmap\b|\bfutex\b|\beventfd\b|\bmemfd\w*|\bsocket\b|\bu?sleep\s*\(|\bsched_yield\b|"
    r"std::(?:thread|mutex|condition_variable|chrono|this_thread)\b|"
    r"#\s*include\s*<(?:thread|mutex|atomic|condition_variable|chrono|future|semaphore|shared_mutex|unistd\.h|"
    r"pthread\.h|fcntl\.h|sched\.h|signal\.h|cuda[^>]*|sys/[^>]*|linux/[^>]*|hwy/[^>]*|boost/[^>]*|rdma/[^>]*|"
    r"\w*intrin\.h)>")
MACHINE_HEADER = re.compile(r"^(?:cuda|cooperative_groups|nccl|nvshmem|rdma/|hwy/)")
MEMORY_ORDER = re.compile(r"\bmemory_order\w*|\batomic_(?:thread|signal)_fence\b|\b__atomic_\w+|\b__sync_\w+")
MEMORY_ORDER_AT_HOME = ("src/channel/", "src/executor/", "src/transport/", "src/control/", "src/runtime/",
                        "src/base/probes/", "tests/", "bench/")
ASSEMBLY, ASSEMBLY_AT_HOME = re.compile(r"\b(?:asm|__asm|__asm__)\b"), "src/executor/cuda/ptx.cuh"
GPU_ORDER = re.compile(r"\bptx::(?:load_|store_|add_one|release_)\w*")
GPU_ORDER_AT_HOME = ("src/executor/cuda/ptx.cuh", "src/executor/cuda/order.cuh")
VOLATILE = re.compile(r"(?<!asm )\bvolatile\b")
THREAD = re.compile(r"\bstd::j?thread[({]")
ZEROS = re.compile(r"\bstd::(?:count[lr]_(?:zero|one)|bit_(?:width|ceil|floor))\b")
ON_GPUS = re.compile(r"src/(?:(?:base|layout|channel|protocol)/.*\.h|(?:executor/cuda|kernels)/.*\.(?:h|cu|cuh))$")
EXCEPTIONS = re.compile(r"\b(?:throw|try|catch)\b")
LEFTOVERS = re.compile(
    r"\b(?:TO[D]O|FIX[M]E|XX[X]|HA[C]K|WI[P]|TB[D])\b|^(?:<{7}|={7}$|>{7})|^\s*#\s*if\s+0\b|"
    r"(?i:\bstub(?:s|bed)?\b|\bplaceholders?\b|\bnot (?:yet )?implemented\b)", re.MULTILINE)
MACHINE = re.compile(
    r"(?<![\w.])/(?:hom[e]|roo[t]|wor[k]|User[s]|workspac[e]|tm[p]/bash)/\w+|"
    r"\b(?:[\w-]+\.)*(?:debia[n]\.org|ubunt[u]\.com|pyp[i]\.org|pythonhoste[d]\.org|docke[r]\.io|ghc[r]\.io)\b|"
    r"(?i:\bartifactor[y]\b|\bartifact-registr[y]\b)|(?i:nexu[s]\.[\w-]+\.)")
STANDS_ALONE = ("include/transload/", "src/base/", "src/layout/", "src/channel/", "src/protocol/", "src/reference/")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


class Tree:
    """The text files of a project, by path, and the paths of its data."""

    SKIPPED = {".git", "build", ".cache", "__pycache__", ".vscode", ".idea"}

    def __init__(self, files, root=None, data=()):
        self.files, self.root, self.data = files, root, data

    @classmethod
    def read(cls, root):
        files, data = {}, set()
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name not in cls.SKIPPED]
            for name in set(names) - cls.SKIPPED:  # .git of a worktree is a file
                path = os.path.join(folder, name)
                try:
                    with open(path, encoding="utf-8") as file:
                        text = file.read()
                except UnicodeDecodeError:
                    text = "\0"
                if "\0" in text:
                    data.add(os.path.relpath(path, root))
                else:
                    files[os.path.relpath(path, root)] = text
        return cls(files, root, data)

    def cpp(self):
        return {path: text for path, text in self.files.items() if path.endswith((".h", ".cc", ".inc", ".cu", ".cuh"))}

    def scripts(self):
        return {path: text for path, text in self.files.items()
                if path.endswith((".py", ".sh", ".cmake", "CMakeLists.txt")) or text.startswith("#!")}


def includes_of(text):
    for match in INCLUDE.finditer(text):
        yield line_of(text, match.start()), match.group(1) or match.group(2), match.group(1) is not None


def layer_of(path):
    """The layer of a source: its folder under src/, cli or python; None for tests and others, which may include all."""
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0] if parts[0] in ("cli", "python") else None


def room_of(path):
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[1] in ROOMS.get(parts[0], ()) else None


def check_rooms(tree):
    for path, text in tree.cpp().items():
        layer, room = layer_of(path), room_of(path.removeprefix("src/"))
        for line, name, _ in includes_of(text):
            target = room_of(name)
            if room and target and name.startswith(layer + "/"):
                if ROOMS[layer].index(target) > ROOMS[layer].index(room):
                    yield path, line, f"{layer}/{room} includes {name}: {layer}/{target} comes later"


def check_include_direction(tree):
    for path, text in tree.cpp().items():
        layer = layer_of(path)
        public = path.startswith(("include/", "examples/"))
        for line, name, quoted in includes_of(text):
            target = name.split("/")[0] if "/" in name else None
            if public:
                if path.endswith(".cu") and name == "cuda_runtime.h":  # an example of kernels
                    continue
                if target not in (None, "transload", "dlpack") or (target is None and (quoted or name.endswith(".h"))):
                    yield path, line, f"includes {name}: public headers and examples take only transload/, dlpack/, std"
            elif layer is None:
                continue
            elif layer not in LAYERS:
                yield path, line, f"src/{layer} is not one of the layers {', '.join(LAYERS)}"
                break
            elif name.startswith("..") or target == "tests" or target == "src":
                yield path, line, f"includes {name}: write the path from src/"
            elif target in LAYERS:
                if LAYERS.index(target) > LAYERS.index(layer):
                    yield path, line, f"{layer} includes {name}: {target} comes later"
                elif target in FORBIDDEN_PAIRS.get(layer, {}):
                    yield path, line, f"{layer} includes {name}: {FORBIDDEN_PAIRS[layer][target]}"


def check_sizes(tree):
    for path, text in {**tree.cpp(), **tree.scripts()}.items():
        lines = text.split("\n")
        if len(lines) - 1 > FILE_LINES_MAX:
            yield path, FILE_LINES_MAX + 1, f"{len(lines) - 1} lines, {FILE_LINES_MAX} at most"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                yield path, number, f"{len(line)} columns, {COLUMNS_MAX} at most"
            if line != line.rstrip():
                yield path, number, "white space at the end of the line"
            if "\t" in line:
                yield path, number, "a tab"
        if text and not text.endswith("\n"):
            yield path, len(lines), "no end of line at the end of the file"


def check_function_length(tree):
    for path, text in tree.cpp().items():
        for function in cpp.functions_of(text):
            length = function.last_line - function.first_line + 1
            if length > FUNCTION_LINES_MAX:
                yield path, function.first_line, f"a function of {length} lines, {FUNCTION_LINES_MAX} at most"
    for path, text in tree.scripts().items():
        if path.endswith(".py") or text.startswith("#!/usr/bin/env python3"):
            for node in ast.walk(ast.parse(text)):
                length = node.end_lineno - node.lineno + 1 if isinstance(node, ast.FunctionDef) else 0
                if length > FUNCTION_LINES_MAX:
                    yield path, node.lineno, f"a function of {length} lines, {FUNCTION_LINES_MAX} at most"


def check_parameters(tree):
    for path, text in tree.cpp().items():
        if not path.startswith(("include/", "src/", "cli/", "python/src/")):
            continue
        for function in cpp.functions_of(text):
            found = cpp.parameters_of(function.head)
            if found and found[1] > PARAMETERS_MAX and f"{path}:{found[0]}" not in MANY_PARAMETERS:
                message = f"{found[0]} has {found[1]} parameters: over {PARAMETERS_MAX} take a struct"
                yield path, function.first_line, message


# Names that types share on purpose: what every Warp has, every link of a ring, every rail, every crew; and what a
# build chooses.
SHARED_NAMES = {"Per", "Table", "Far", "Members", "Plants", "Queue", "Task", "HostPlants", "RailHeld"}
TYPE = re.compile(r"^[ \t]*(?:template\s*<[^;{]*>\s*)?(?:struct|class|union|enum class|enum)\s+"
                  r"(?:alignas\([^)]*\)\s*)?((?:\w+::)*\w+)(?:\s+final)?\s*(?::[^;{]*)?\{", re.MULTILINE)
ALIAS = re.compile(r"^[ \t]*(?:template\s*<[^;{]*>\s*)?using\s+(\w\w+)\s*=\s*([^;]+);", re.MULTILINE)


def type_names(code):
    """(index, name, what it is short for) of types and aliases; an alias of one letter is a template's habit."""
    for match in TYPE.finditer(code):
        yield match.start(1), match.group(1), None
    for match in ALIAS.finditer(code):
        of = re.sub(r"\btypename\b|<.*|\s", "", match.group(2), flags=re.DOTALL).split("::")[-1]
        if of != match.group(1):
            yield match.start(1), match.group(1), of


def check_type_names(tree):
    """One word has one meaning: a type's name stands once in what ships, nested types and aliases included. Aliases of
    one template mean the same."""
    first = {}
    for path, text in sorted(tree.cpp().items()):
        if not path.startswith(("include/", "src/", "cli/", "python/src/")):
            continue
        code = cpp.code_of(text)
        for index, name, of in type_names(code):
            place = path, line_of(code, index)
            if name in SHARED_NAMES:
                continue
            before = first.setdefault(name, (of, place))
            if before[1] != place and (of is None or of != before[0]):
                where = ":".join(map(str, before[1]))
                yield *place, f"the type {name} stands in {where} too: one word has one meaning"


def matches(tree, pattern, where, why, of=lambda text: text):
    for path, text in tree.cpp().items():
        if where(path):
            for match in pattern.finditer(of(text)):
                yield path, line_of(text, match.start()), f"'{match.group().strip()}' {why}"


def check_seam(tree):
    yield from matches(tree, BELOW_THE_SEAM, lambda path: path.startswith(("src/protocol/", "src/layout/")),
                       "belongs below the seam")


def check_memory_order(tree):
    yield from matches(tree, MEMORY_ORDER, lambda path: not path.startswith(MEMORY_ORDER_AT_HOME),
                       "outside of channel, executor, transport, control, runtime", cpp.code_of)


def check_assembly(tree):
    yield from matches(tree, ASSEMBLY, lambda path: path.startswith(("src/", "cli/")) and path != ASSEMBLY_AT_HOME,
                       f"outside of {ASSEMBLY_AT_HOME}", cpp.code_of)


def check_gpu_order(tree):
    yield from matches(tree, GPU_ORDER, lambda path: path.startswith("src/") and path not in GPU_ORDER_AT_HOME,
                       f"outside of {' and '.join(GPU_ORDER_AT_HOME)}: the functions there say what a word is for",
                       cpp.code_of)


def check_volatile(tree):
    yield from matches(tree, VOLATILE, lambda path: path.startswith(("src/", "cli/", "include/")),
                       "orders nothing: say what is meant by an atomic, or by a function of order.cuh", cpp.code_of)


def check_threads(tree):
    yield from matches(tree, THREAD, lambda path: path.startswith("src/") and not path.startswith("src/sim/"),
                       "takes signals that belong to the process's other threads: start_thread() of os/thread.h",
                       cpp.code_of)


def check_zeros(tree):
    yield from matches(tree, ZEROS, ON_GPUS.match, "is 32 for a GPU, whatever its argument: nvcc 13.0 compiles it so",
                       cpp.code_of)


def check_exceptions(tree):
    yield from matches(tree, EXCEPTIONS, lambda path: path.startswith("src/protocol/"),
                       "in a role, which must not throw", cpp.code_of)


def check_leftovers(tree):
    for path, text in tree.files.items():
        for match in LEFTOVERS.finditer(text):
            yield path, line_of(text, match.start()), f"'{match.group().strip()}' was left over"


def check_machine(tree):
    for path, text in tree.files.items():
        for match in MACHINE.finditer(text):
            yield path, line_of(text, match.start()), f"'{match.group()}' is a path or host of one machine"


def check_first_lines(tree):
    sources, scripts = tree.cpp(), tree.scripts()
    for path, text in tree.files.items():
        lines = (text + "\n\n").split("\n")
        first = lines[1] if lines[0].startswith("#!") else lines[0]
        if path in sources:
            if not first.startswith("//"):
                yield path, 1, "does not begin with a comment that says what it is"
            if path.endswith((".h", ".cuh")) and "#pragma once" not in text:
                yield path, 1, "has no #pragma once"
        elif path in scripts and text and not first.startswith(("#", '"""')):
            yield path, 1, "does not begin with a comment that says what it is"


FOUND_BY_THEIR_FOLDER = ("tests/program/", "tests/python/test_", "tests/python/with_torch/test_",
                         "tests/python/deep_ep/test_", "tests/python/conftest.py")


def is_named(name, path, tree):
    """Whether another file names a script."""
    stem = re.sub(r"\.py$", "", name)
    word = re.compile(r"(?<![\w/])(?:[\w.$()/-]+/)?" + re.escape(stem) + r"\b")
    return any(other != path and stem in text and word.search(text) for other, text in tree.files.items())


def check_dead_files(tree):
    included, scripts = {}, tree.scripts()
    for path, text in tree.cpp().items():
        for _, name, _ in includes_of(text):
            for base in ("src/", "include/", "", os.path.dirname(path) + "/"):
                target = os.path.normpath(base + name)
                if target in tree.files:
                    included.setdefault(target, set()).add(path)
    for path in tree.files:
        name = os.path.basename(path)
        if path.endswith((".h", ".cuh", ".inc")):
            if not included.get(path, set()) - {path}:
                yield path, 1, "nothing includes it"
        elif path.endswith((".cc", ".cu")):
            folders = ("src/", "cli/", "python/src/", "bench/", "examples/", "tests/support/", "tests/scrambled/",
                       "tests/proxied/", "tests/soft_nic/", "tests/nvshmem_double/", "tests/heaped/", "tests/package/")
            built = path.startswith(folders) or re.match(
                r"tests/.*_test\.cc$|tests/ladder/.*/\d[^/]*\.cc$|tests/gpu/[^/]*_check\.c[cu]$|"
                r"tests/fuzz/[^/]*_fuzz\.cc$", path)
            if not built:
                yield path, 1, ("nothing builds it: tests are *_test.cc, numbered rungs, gpu/*_check.cc and "
                               "fuzz/*_fuzz.cc; they share tests/support/")
        elif path.startswith(FOUND_BY_THEIR_FOLDER):
            continue
        elif path in scripts and name not in ("dev", "CMakeLists.txt"):
            if path != ".ci/run" and not is_named(name, path, tree):
                yield path, 1, "nothing names it"


def check_includes_exist(tree):
    for path, text in tree.cpp().items():
        for line, name, quoted in includes_of(text):
            places = [os.path.normpath(base + name)
                      for base in ("src/", "include/", "", os.path.dirname(path) + "/")]
            if quoted and not any(place in tree.files for place in places):
                yield path, line, f'includes "{name}", which is not in the project'


def compile_alone(root, path):
    source = f'#include "{path.split("/", 1)[1]}"\n'
    command = "g++ -std=c++20 -Wall -Wextra -Werror -fsyntax-only -Isrc -Iinclude -x c++ -".split()
    done = subprocess.run(command, input=source, cwd=root, capture_output=True, text=True, check=False)
    return path, done.stderr.strip() if done.returncode else ""


def check_headers_alone(tree):
    if tree.root is None:
        return
    headers = [path for path in sorted(tree.files) if path.endswith(".h") and path.startswith(STANDS_ALONE)]
    for path in headers:
        for line, name, _ in includes_of(tree.files[path]):
            if MACHINE_HEADER.search(name):
                yield path, line, f"includes {name}: it must compile without"
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for path, complaint in pool.map(lambda header: compile_alone(tree.root, header), headers):
            if complaint:
                errors = [line for line in complaint.splitlines() if "error" in line] or complaint.splitlines()
                yield path, 1, f"does not compile alone: {errors[0]}"


CONTRACT = "docs/contract.md"
SENTENCE = re.compile(r"^- \*\*(\d+\.\d+)\*\* (.*?)(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)
TEST_NAME = re.compile(r"`(\w+/[\w/]+\.(?:cc|cu|py))(?:\s+(\w+)\.(\w+))?`")


def claims_in(text):
    """Sentence numbers of a comment line such as 'Contract 1.1, 2.3.'"""
    return {number for line in re.findall(r"^\W*Contract ([\d., ]+)$", text, re.MULTILINE)
            for number in re.findall(r"\d+\.\d+", line)}


def check_contract(tree):
    text, named = tree.files.get(CONTRACT, ""), {}
    for match in SENTENCE.finditer(text):
        number, line = match.group(1), line_of(text, match.start())
        tests = TEST_NAME.findall(match.group(2))
        if not tests:
            yield CONTRACT, line, f"{number} names no test"
        for file, suite, case in tests:
            path = "tests/" + file
            source = tree.files.get(path)
            head = rf"((?:^//.*\n)*)^(?:TYPED_)?TEST(?:_F|_P)?\({suite}, {case}\)" if suite else r"\A((?:.*\n){3,4})"
            above = source and re.search(head, source, re.MULTILINE)
            if not above:
                yield CONTRACT, line, f"{number} names {path} {suite} {case}, which is not there"
            elif number not in claims_in(above.group(1)):
                yield path, line_of(source, above.end()), f"does not say 'Contract {number}', as {CONTRACT} has it"
            named.setdefault(path, set()).add(number)
    for path, source in tree.files.items():
        for number in claims_in(source) - named.get(path, set()) if path.startswith("tests/") else ():
            yield path, 1, f"says 'Contract {number}', for which {CONTRACT} does not name it"


CHECKS = {
    "include-direction": check_include_direction,
    "rooms": check_rooms,
    "include-exists": check_includes_exist,
    "includes": includes.check_includes,
    "sizes": check_sizes,
    "function-length": check_function_length,
    "parameters": check_parameters,
    "type-names": check_type_names,
    "seam": check_seam,
    "memory-order": check_memory_order,
    "assembly": check_assembly,
    "gpu-order": check_gpu_order,
    "volatile": check_volatile,
    "threads": check_threads,
    "zeros": check_zeros,
    "exceptions": check_exceptions,
    "leftovers": check_leftovers,
    "machine": check_machine,
    "first-lines": check_first_lines,
    "dead-files": check_dead_files,
    "headers-alone": check_headers_alone,
    "contract": check_contract,
    "links": texts.check_links,
    "names": texts.check_names,
    "rungs": texts.check_rungs,
    "placed-names": texts.check_placed_names,
    "lengths": texts.check_page_lengths,
    "lane-bodies": bodies.check_lane_bodies,
    "commas": commas.check_commas,
    "positional-lists": lists.check_positional_lists,
    "numbered-texts": lists.check_numbered_texts,
    "baselines": baselines.check_baselines,
}
