"""Small trees, each with one planted fault that a check must find, and a clean one, in which none may find any."""

HEAD = "// What it is.\n#pragma once\n"
LONG = "".join(f"  x += {number};\n" for number in range(70))
WORD = "TO" + "DO"

LANES = """
template <class W>
void lanes(W& w, int* room) {
  int most = 0;
  w.each(room, [&](int l) {
    int mine = 0, other = 1;
    for (int i = 0; i < l; ++i) mine += i == 2;
    room[l] = mine;
    room[l] += other;
    ++room[l];
    w.seen(l) = mine;
  });
  w.turns(room, [&](int l) { most = most + l; });
}
"""

RUNGS = "# Of it\n| rung | what |\n|---|---|\n| 01 | what a put brings |\n| 02 | z, in 60 s |\n"

CLEAN = {
    "include/transload/a.h": HEAD + "#include <dlpack/dlpack.h>\n#include <cstdint>\nint a();\n",
    "src/base/b.h": HEAD + "#include <transload/a.h>\n"
                    "struct B {\n  explicit B(int x, int y = 2) : x_(x), y_{y} {}\n  int x_, y_;\n};\n",
    "src/channel/contract.md": RUNGS,
    "tests/ladder/transport/01_y_test.cc": "// Y.\n",
    "tests/ladder/transport/02_z_test.cc": "// Z.\n",
    "src/layout/c.h": HEAD + '#include "base/b.h"\nconstexpr int kTable[] = {1, 2, 3, 4, 5};\n',
    "src/protocol/d.h": HEAD + '#include "layout/c.h"\n// Names atomics in no code; "throw" neither.\n'
                        "template <class W>\nint four(W& w, int a, int b, int c) {\n  return a + b + c + w.x;\n}\n",
    "src/protocol/d.cc": "// What it is.\n#include \"protocol/d.h\"\nint e() {\n  return 0;\n}\n",
    "examples/03/main.cu": "// What it shows.\n#include <cuda_runtime.h>\n#include <transload/a.h>\n",
    "src/protocol/e.h": HEAD + '#include "protocol/d.h"\n' + LANES,
    "src/protocol/e.cc": "// What it is.\n#include \"protocol/e.h\"\n#include <map>\n"
                         "const S s{.a = 1, .b = 2, .c = 3, .d = 4, .e = 5};\n"
                         "using To = A<B>;\nusing B = n::B;\n"
                         "const char* const kNames[] = {kA, kB, kC, kD, kE};\nint f(S{1, g(2, 3), {4, 5}, 6});\n"
                         "const S kRows[] = {{1, a}, {2, b}, {3, c}, {4, d}, {5, e}};\n"
                         "int g(std::map<int, int> m) {\n  for (int i = 0, j = 1; i < j; ++i, --j) m[i] = j;\n"
                         "  const int a = 1, b = 2;\n  auto [c, d] = *m.begin();\n  return f(a, b);\n}\n",
    "cli/f.h": HEAD + "class F {\n  using To = typename n::A<int>;\n};\n",
    "cli/f.cc": "// F.\n#include \"cli/f.h\"\n",
    "tests/unit/d_test.cc": "// What it tests.\n#include \"protocol/d.h\"\n",
    "docs/page.md": "# A page, of it\n`B`, `B::x_` and `y` (`base/b.h`)\n"
                    "[up](../README.md#two-words) [here](#a-page-of-it) `src/base/b.h` `b.h` `a/b`\n"
                    "`tests/*/d_test.cc` `src/NAME/x.h` `--x` `bench/baselines/b.jsonl`\n```\n[no](gone.md)\n```\n",
    "README.md": "# Two words\n[a page](docs/page.md)\n| **2** |" + " " * 120 + "|\n```\n" + "x" * 121 + "\n```\n",
    "bench/b.cc": "// B.\n",
    "bench/baselines/b.jsonl": '{"case":"c","us":{"min":1,"median":2.3,"max":3},"command":"bench_b --x"}\n',
}


def with_file(path, text):
    return {**CLEAN, path: text}


# (check, tree)
CANARIES = [
    ("include-direction", with_file("src/layout/c.h", HEAD + '#include "protocol/d.h"\n')),
    ("include-direction", with_file("src/transport/t.cc", '// T.\n#include "executor/x.h"\n')),
    ("include-direction", with_file("src/executor/x.cc", '// X.\n#include "transport/t.h"\n')),
    ("include-direction", with_file("src/reference/r.cc", '// R.\n#include "layout/c.h"\n')),
    ("include-direction", with_file("src/runtime/r.cc", '// R.\n#include "sim/s.h"\n')),
    ("include-direction", with_file("python/src/r.cc", '// R.\n#include "cli/c.h"\n')),
    ("include-direction", with_file("src/runtime/r.cc", '// R.\n#include "python/src/r.h"\n')),
    ("include-direction", with_file("src/channel/r.cc", '// R.\n#include "../layout/c.h"\n')),
    ("include-direction", with_file("src/other/r.cc", '// R.\n#include "layout/c.h"\n')),
    ("include-direction", with_file("include/transload/a.h", HEAD + '#include "base/b.h"\n')),
    ("include-direction", with_file("include/transload/a.h", HEAD + "#include <unistd.h>\n")),
    ("rooms", with_file("src/sim/checkers/r.h", HEAD + '#include "sim/world/r.h"\n')),
    ("rooms", with_file("src/runtime/call/r.cc", '// R.\n#include "runtime/host/r.h"\n')),
    ("include-exists", with_file("src/layout/c.cc", '// C.\n#include "layout/gone.h"\n')),
    ("include-exists", {**with_file("tests/unit/d_test.cc", '// D.\n#include "support/s.h"\n'),
                        "tests/support/s.h": HEAD}),
    ("includes", with_file("src/layout/c.cc", "// C.\n#include <vector>\nstd::string x;\n")),
    ("includes", with_file("src/layout/c.cc", "// C.\n#include <vector>\nstd::no_such_name x;\n")),
    ("includes", with_file("src/protocol/d.cc", "// D.\nGiven given;\n") |
                 {"src/base/g.h": HEAD + "struct Given {\n  int x;\n};\n"}),
    ("includes", with_file("src/protocol/d.cc", "// D.\nint e() {\n  return four(x, 1, 2, 3);\n}\n")),
    ("includes", with_file("src/protocol/d.cc", "// D.\nint e() {\n  return kTable[1];\n}\n")),
    ("includes", with_file("cli/f.cc", "// F.\nint f() {\n  return TRANSLOAD_F(1);\n}\n") |
                 {"cli/g.h": HEAD + "#define TRANSLOAD_F(x) (x)\n"}),
    ("sizes", with_file("src/layout/c.cc", "// C.\n" + "int x;\n" * 600)),
    ("sizes", with_file("src/layout/c.cc", "// C.\n// " + "x" * 118 + "\n")),
    ("sizes", with_file("src/layout/c.cc", "// C.\nint x; \n")),
    ("sizes", with_file("src/layout/c.cc", "// C.\n\tint x;\n")),
    ("sizes", with_file("src/layout/c.cc", "// C.\nint x;")),
    ("function-length", with_file("src/layout/c.cc", "// C.\nint f(int x) {\n" + LONG + "}\n")),
    ("function-length", with_file("src/layout/c.cc", "// C.\nnamespace n {\nC::C() : a_{1}, b(2) {\n" + LONG + "}}")),
    ("function-length", with_file("tests/unit/d_test.cc", "// C.\nTEST(A, B) {\n" + LONG + "}\n")),
    ("function-length", with_file("src/layout/c.cc", "// C.\nstruct S {\n auto f() const -> int {\n" + LONG + "}};")),
    ("function-length", with_file("tools/x.py", "# X.\ndef f(x):\n" + LONG)),
    ("parameters", with_file("src/layout/c.h", HEAD + "int f(int a, int b, int c, int d, int e);\n")),
    ("parameters", with_file("src/layout/c.h", HEAD + "template <class T, class U>\nstruct S {\n public:\n  int f(int, "
                             "std::array<int, 3> b, int c,\n        int d, int e) const {\n    return 0;\n  }\n};")),
    ("parameters", with_file("src/kernels/k.cuh", HEAD + "int f(int a, int b, int c, int d, int e);\n")),
    ("parameters", with_file("cli/k.cc", "// K.\nint f(int a, int b, int c, int d, int e) {\n  return a;\n}\n")),
    ("parameters", with_file("src/base/k.inc", "// K.\nint f(D d, int a, int b, int c, int e, int g) {}\n")),
    ("type-names", with_file("src/layout/c.cc", "// C.\nstruct B {\n  int x;\n};\n")),
    ("type-names", with_file("src/layout/c.cc", "// C.\nclass C {\n  enum class B : int {\n    kOne };\n};\n")),
    ("type-names", with_file("src/layout/c.cc", "// C.\nstruct Be {\n  int x;\n};\nstruct C {\n  using Be = int;\n};"
                                                "\n")),
    ("type-names", with_file("src/layout/c.cc", "// C.\nusing Two = int;\nclass C {\n  using Two = long;\n};\n")),
    ("type-names", with_file("cli/c.cc", "// C.\nstruct B {\n  int x;\n};\n")),
    ("type-names", with_file("python/src/c.cc", "// C.\nstruct B {\n  int x;\n};\n")),
    ("seam", with_file("src/protocol/d.cc", "// D.\nstd::atomic<int> x;\n")),
    ("seam", with_file("src/layout/c.cc", "// C.\n#include <mutex>\n")),
    ("seam", with_file("src/protocol/d.cc", "// D.\nint x = threadIdx.x;\n")),
    ("seam", with_file("src/protocol/d.cc", "// D.\nvoid f(HostMemory&);\n")),
    ("seam", with_file("src/protocol/d.cc", "// D.\nint x = epoll_create1(0);\n")),
    ("memory-order", with_file("src/base/b.cc", "// B.\nauto o = std::memory_order_acquire;\n")),
    ("assembly", with_file("src/kernels/k.cu", '// K.\nvoid f() { asm volatile("exit;"); }\n')),
    ("assembly", with_file("src/base/b.cc", '// B.\nvoid f() { __asm__(""); }\n')),
    ("gpu-order", with_file("src/kernels/k.cuh", HEAD + "Word f(const Word* p) { return ptx::load_acquire(p); }\n")),
    ("gpu-order", with_file("src/executor/cuda/x.cuh", HEAD + "void f(Word* p) { ptx::add_one(p); }\n")),
    ("volatile", with_file("src/executor/x.cuh", HEAD + "int f(volatile int* p);\n")),
    ("threads", with_file("src/os/t.cc", HEAD + "auto f() { return std::jthread([] {}); }\n")),
    ("zeros", with_file("src/channel/e.h", HEAD + "int f(unsigned x) { return std::countr_zero(x); }\n")),
    ("zeros", with_file("src/kernels/k.cu", "// K.\nint f(unsigned x) { return std::countl_zero(x); }\n")),
    ("exceptions", with_file("src/protocol/d.cc", "// D.\nvoid f() {\n  throw 1;\n}\n")),
    ("leftovers", with_file("src/base/b.cc", f"// {WORD}: later.\n")),
    ("leftovers", with_file("README.md", "This is a place" + "holder.\n")),
    ("leftovers", with_file("src/base/b.cc", "// B.\n#if 0\n#endif\n")),
    ("machine", with_file("README.md", "See /ho" + "me/someone/x.\n")),
    ("machine", with_file("tools/x.sh", "# X.\ncurl http://deb.debi" + "an.org/\n")),
    ("first-lines", with_file("src/base/b.cc", "int x;\n")),
    ("first-lines", with_file("src/base/b.h", "// B.\nint x;\n")),
    ("first-lines", with_file("tools/x.sh", "#!/bin/bash\nset -e\n")),
    ("dead-files", with_file("src/base/unused.h", HEAD)),
    ("dead-files", with_file("tests/unit/helper.cc", "// H.\n")),
    ("dead-files", with_file("tests/python/unused.py", "# U.\n")),
    ("dead-files", with_file("tools/unused.sh", "# U.\n")),
    ("headers-alone", with_file("src/layout/c.h", HEAD + "std::vector<int> x();\n")),
    ("headers-alone", with_file("src/channel/e.h", HEAD + "#include <cuda_runtime.h>\n")),
    ("contract", with_file("docs/contract.md", "- **1.1** Rows.\n")),
    ("contract", with_file("docs/contract.md", "- **1.1** Rows. `unit/gone_test.cc A.B`\n")),
    ("contract", with_file("docs/contract.md", "- **1.1** Rows. `unit/d_test.cc A.B`\n")),
    ("contract", {**with_file("docs/contract.md", "- **1.1** Rows. `unit/d_test.cc A.B`\n"),
                  "tests/unit/d_test.cc": "// D.\n// Contract 1.2.\nTEST(A, B) {}\n"}),
    ("links", with_file("docs/page.md", "[x](gone.md)\n")),
    ("links", with_file("docs/page.md", "[x](../README.md#three-words)\n")),
    ("links", with_file("docs/page.md", "[x](#gone)\n")),
    ("links", with_file("docs/page.md", "`gone.h`\n")),
    ("links", with_file("docs/page.md", "`src/gone/`\n")),
    ("links", with_file("docs/page.md", "`tests/*/e_test.cc`\n")),
    ("names", with_file("docs/page.md", "`Gone::run()`\n")),
    ("names", with_file("docs/seed_map.md", "`Gone::run`\n")),
    ("placed-names", with_file("docs/page.md", "`f` (`src/base/b.h`)\n")),
    ("placed-names", with_file("docs/page.md", "| `B`,\n`f`, `B::g()` (`base`) |\n")),
    ("rungs", with_file("tests/ladder/transport/03_x_test.cc", "// X.\n")),
    ("rungs", with_file("src/channel/contract.md", RUNGS + "| 04 | w |\n")),
    ("lengths", with_file("README.md", "# Two words\n" + "word\n" * 1400)),
    ("lengths", with_file("ARCHITECTURE.md", "# Of it\n" + "A line of it.\n" * 1100)),
    ("lengths", with_file("docs/page.md", "- " + "x" * 119 + "\n")),
    ("lane-bodies", with_file("src/protocol/e.h", HEAD + LANES.replace("w.seen(l) =", "most ="))),
    ("lane-bodies", with_file("src/protocol/e.h", HEAD + LANES.replace("w.seen(l) =", "room->most.of +="))),
    ("lane-bodies", with_file("src/protocol/e.h", HEAD + LANES.replace("++room[l]", "++most"))),
    ("lane-bodies", with_file("src/protocol/e.h", HEAD + LANES.replace("++room[l]", "most--"))),
    ("lane-bodies", with_file("src/protocol/e.h", HEAD + LANES.replace("w.turns(", "w.template per<int>("))),
    ("commas", with_file("src/base/b.cc", "// B.\nvoid f(int& a, int& b) {\n  if (a) a = 1, b = 2;\n}\n")),
    ("commas", with_file("src/base/b.cc", "// B.\nint f(int& a) {\n  return ++a, g(a);\n}\n")),
    ("commas", with_file("src/base/b.cc", "// B.\nvoid f(S& a) {\n  for (T& x : a.all) x.clear(), g(x, a);\n}\n")),
    ("positional-lists", with_file("src/base/b.cc", "// B.\nconst S s = {1, a, b.c, nullptr, uint32_t(e)};\n")),
    ("positional-lists", with_file("src/base/b.cc", "// B.\nconst S s{f(1), a + b, p->q(), g<int>(2), c ? 1 : 2};\n")),
    ("positional-lists", with_file("src/base/b.cc", "// B.\nint f(S{1, g(2, 3), &x, -4, a[5], true});\n")),
    ("positional-lists", with_file("src/base/b.cc", "// B.\nS f() {\n  return {1, {}, a->b, 4, kC, true};\n}\n")),
    ("positional-lists", with_file("src/base/b.cc", "// B.\nconst S all[] = {{1, a, {b, c}, nullptr, e}};\n")),
    ("positional-lists", with_file("src/base/b.cc", "// B.\nint f(S{{1, 2}, {}, {3, 4}, {}, a});\n")),
    ("numbered-texts", with_file("src/base/b.cc", '// B.\nconst char* const k[] = {"a"};\n'
                                 "auto f(int x) { return k[x]; }\n")),
    ("contract", with_file("tests/unit/d_test.cc", "// D.\n// Contract 1.1.\nTEST(A, B) {}\n")),
    ("baselines", with_file("bench/baselines/b.jsonl", "{\n")),
    ("baselines", with_file("bench/baselines/b.jsonl", '{"us":{"median":2}}\n')),
    ("baselines", with_file("bench/baselines/b.jsonl", '{"case":"c","us":{"min":3,"median":2}}\n')),
    ("baselines", with_file("bench/baselines/b.jsonl", '{"case":"c","us":{"median":2},"speed":-1}\n')),
    ("baselines", with_file("bench/baselines/b.jsonl", '{"case":"c","us":{"median":2},"command":"bench_gone"}\n')),
    ("baselines", with_file("bench/baselines/c.jsonl", '{"case":"c","us":{"median":2}}\n')),
    ("baselines", with_file("README.md", "# Two words\n[a page](docs/page.md)\n| **4** |\n")),
]
