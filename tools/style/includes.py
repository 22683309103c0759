"""What a source uses it must include, because sources that are compiled as one do not miss it: of the standard library
a header that has the name, by the table below; of ours the header that declares it, reached in any number of steps."""
import os
import re

from . import cpp

# The names of std that are used, by header. A name that stands in several may come from each of them.
STANDARD = {
    "algorithm": "all_of any_of clamp copy copy_n count count_if equal fill fill_n find find_if lower_bound max "
                 "max_element min min_element mismatch none_of nth_element partition pop_heap push_heap remove_if "
                 "replace reverse rotate sort stable_sort swap_ranges unique upper_bound ranges",
    "array": "array tie get",
    "atomic": "atomic atomic_ref atomic_thread_fence memory_order memory_order_acq_rel memory_order_acquire "
              "memory_order_relaxed memory_order_release memory_order_seq_cst",
    "bit": "bit_cast bit_ceil bit_floor bit_width countl_zero countr_zero has_single_bit popcount",
    "cfenv": "fegetenv fenv_t fesetenv",
    "charconv": "from_chars",
    "chrono": "chrono chrono_literals milli",
    "cmath": "abs ceil copysign ldexp llround pow round sqrt",
    "concepts": "convertible_to integral same_as",
    "condition_variable": "condition_variable condition_variable_any",
    "cstddef": "ptrdiff_t size_t",
    "cstdio": "FILE fclose fflush fprintf fputs fwrite snprintf",
    "cstdlib": "_Exit abort abs getenv strtod strtoul strtoull",
    "cstring": "memcmp memcpy memset strchr strerror strlen strncmp",
    "deque": "deque begin end size erase_if",
    "exception": "current_exception exception exception_ptr make_exception_ptr rethrow_exception",
    "filesystem": "filesystem",
    "fstream": "ifstream",
    "functional": "function",
    "future": "future future_status promise shared_future",
    "initializer_list": "initializer_list begin end",
    "iterator": "back_inserter begin end next prev size",
    "limits": "numeric_limits",
    "list": "list",
    "map": "map multimap begin end size erase_if",
    "memory": "enable_shared_from_this make_shared make_unique make_unique_for_overwrite shared_ptr unique_ptr "
              "weak_ptr",
    "mutex": "call_once lock_guard mutex once_flag unique_lock",
    "new": "align_val_t bad_alloc nothrow nothrow_t",
    "numeric": "accumulate iota",
    "optional": "nullopt optional",
    "random": "random_device",
    "set": "set begin end size erase_if",
    "sstream": "istringstream ostringstream",
    "stdexcept": "logic_error runtime_error",
    "stop_token": "stop_token",
    "string": "getline string to_string begin end size erase_if",
    "string_view": "string_view",
    "system_error": "errc error_code system_error",
    "thread": "jthread this_thread thread",
    "tuple": "tie tuple get",
    "type_traits": "decay_t is_pointer_v is_same_v is_standard_layout_v is_trivially_copyable_v "
                   "is_trivially_destructible_v remove_const_t remove_reference_t",
    "unordered_map": "unordered_map",
    "utility": "exchange forward get in_place move pair swap",
    "variant": "get get_if holds_alternative variant variant_size_v visit",
    "vector": "vector begin end size erase_if",
}
HEADERS_OF = {}
for _header, _words in STANDARD.items():
    for _word in _words.split():
        HEADERS_OF.setdefault(_word, set()).add(_header)

LOOKED_AT = ("include/", "src/", "cli/", "python/src/")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
STANDARD_NAME = re.compile(r"(?<!:)\bstd::(\w+)")
DIRECTIVE = re.compile(r"^[ \t]*#.*", re.MULTILINE)
NOT_A_TYPE = r"(?!return|using|typedef|struct|class|enum|namespace|else|delete|throw|case|goto)"
# What a header gives to others begins at the start of a line; what is indented is a member.
GIVEN = [
    re.compile(r"^(?:template\s*<[^;{]*>\s*)?(?:struct|class|union|enum class|enum)\s+(?:alignas\([^)]*\)\s*)?"
               r"([A-Z]\w*)[^;{]*\{|^using\s+([A-Z]\w+)\s*=", re.MULTILINE),
    re.compile(r"^(?:inline |constexpr |const |extern )+[^;=({]*?\b(k[A-Z]\w*)", re.MULTILINE),
    re.compile(rf"^{NOT_A_TYPE}\w[\w:<>,&* \n]*?[\s&*>]([a-z]\w*)\(", re.MULTILINE),
]
MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
# How else a file may have a name: a nested or foreign type, a parameter of a template, a constant in a class or an
# enumeration, a member function.
OWN = [
    re.compile(r"\b(?:class|struct|typename|enum|union|concept|using|auto)\s+(\w+)"),
    re.compile(r"\bconst(?:expr)?\b[^;=({]*?\b(k[A-Z]\w*)"),
    re.compile(rf"(?<!\w){NOT_A_TYPE}[\w:]+(?:<[^;(){{}}]*>)?[&*]*\s[&*]*([a-z]\w*)\("),
]
# In the source itself also a variable that is called, or made with parentheses.
LOCAL = [
    re.compile(rf"(?<!\w){NOT_A_TYPE}[\w:]+(?:<[^;(){{}}]*>)?[&*]*\s[&*]*([a-z]\w*)\s*[,;={{)\[:]"),
    re.compile(r"\[(?:[^\]]*, )?&?([a-z]\w*)(?:, [^\]]*)?\]"),
]
ENUMERATION = re.compile(r"\benum\b[^;{]*\{([^}]*)\}")
OF_THE_SYSTEM = {"pause"}  # a source may have such a name from ours
USE = re.compile(r"(?<![\w.>:~])(?:transload::)?([A-Z]\w+|k[A-Z]\w+|[a-z]\w*(?=\())")


def found_by(patterns, code):
    return {group for pattern in patterns for match in pattern.finditer(code) for group in match.groups() if group}


class Source:
    """What a file of ours includes, gives to others, and has of its own."""

    def __init__(self, path, text, tree):
        self.code = DIRECTIVE.sub(cpp.blank, cpp.code_of(text))
        self.ours, self.others = set(), set()
        for match in INCLUDE.finditer(text):
            name = match.group(1) or match.group(2)
            places = [base + name for base in ("src/", "include/", "", os.path.dirname(path) + "/")]
            self.ours.update(place for place in places if place in tree)
            self.others.add(name)
        self.given = found_by(GIVEN, self.code) if path.endswith((".h", ".cuh")) else set()
        self.given |= found_by([MACRO], text) if path.endswith((".h", ".cuh")) else set()
        self.local = found_by(LOCAL, self.code)
        enumerations = "".join(ENUMERATION.findall(self.code))
        self.own = found_by(OWN, self.code) | set(re.findall(r"\bk[A-Z]\w*", enumerations))


def reached_from(path, sources):
    reached, ahead = {path}, [path]
    while ahead:
        for target in sources[ahead.pop()].ours - reached:
            reached.add(target)
            ahead.append(target)
    return [sources[target] for target in reached]


def check_includes(tree):
    texts = {path: text for path, text in tree.cpp().items() if path.startswith(LOOKED_AT)}
    sources = {path: Source(path, text, texts) for path, text in texts.items()}
    homes = {}
    for path, source in sources.items():
        for name in source.given - OF_THE_SYSTEM:
            homes.setdefault(name, []).append(path)
    for path, source in sources.items():
        if path.endswith(".inc"):  # a part of what includes it
            continue
        reached = reached_from(path, sources)
        headers = set().union(*(one.others for one in reached))
        known = set().union(*(one.own | one.given for one in reached)) | source.local
        for match in STANDARD_NAME.finditer(source.code):
            of, line = HEADERS_OF.get(match.group(1), set()), cpp.line_of(source.code, match.start())
            if not of:
                yield path, line, f"{match.group()} is not in the table of tools/style/includes.py"
            elif not of & headers:
                where = " or ".join(f"<{header}>" for header in sorted(of))
                yield path, line, f"uses {match.group()} and includes no {where}"
            headers |= of  # once is enough
        for match in USE.finditer(source.code):
            name = match.group(1)
            if name in homes and name not in known:
                where = " or ".join(sorted(homes[name]))
                yield path, cpp.line_of(source.code, match.start()), f"uses {name} and includes no {where}"
                known.add(name)
