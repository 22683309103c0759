"""What is installed: imports, the program, the doctor, the types that are told."""
import ast
import importlib.metadata
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest

import transload

FOLDER = pathlib.Path(transload.__file__).parent
ROOT = pathlib.Path(__file__).resolve().parents[2]


def python(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def test_imports_no_array_library():
    text = ("import sys, transload\n"
            "g = transload.Group(0, 1, experts=2, hidden=16)\n"
            "ids = memoryview(bytes(4)).cast('B').cast('i', (1, 1))\n"
            "g.dispatch(memoryview(bytes(32)).cast('B', (1, 32)), ids, ids.cast('B').cast('f', (1, 1)))\n"
            "print([name for name in ('numpy', 'ml_dtypes', 'torch', 'cupy', 'jax') if name in sys.modules])\n")
    assert python("-c", text) == (0, "[]\n", "")


def test_version_is_one():
    header = (ROOT / "include/transload/version.h").read_text(encoding="utf-8")
    version = ".".join(re.findall(r"#define TRANSLOAD_VERSION_\w+ (\d+)", header))
    assert transload.__version__ == importlib.metadata.version("transload") == version
    assert python("-m", "transload", "--version") == (0, f"transload {version}\n", "")


def test_program():
    status, out, err = python("-m", "transload", "run", "--node-sizes", "1,1", "--tokens", "16", "--hidden", "64",
                              "--launcher", "none")
    assert (status, err) == (0, "") and "verified" in out
    status, out, err = python("-m", "transload", "run", "--tokens", "-1")
    assert (status, out) == (2, "") and "--tokens" in err
    on_path = pathlib.Path(sys.executable).parent / "transload"
    done = subprocess.run([on_path, "limits"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and f"top_k_max {transload.limits().top_k_max:>19}" in done.stdout


# Those of torch are tried in with_torch.
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*/main.py")) if "torch" not in path.parent.name]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_example(example):
    status, out, err = python(str(example))
    assert (status, err) == (0, "") and out.endswith("verified\n"), out + err


def test_picture_of_what_went_where():
    """What a user sees in the first minute: of each rank its tokens, and those that chose an expert of it, in order."""
    example = runpy.run_path(str(ROOT / "examples/05_numpy/main.py"))
    ids = [example["tokens_of"](rank)[1].tolist() for rank in range(4)]
    out = python(str(ROOT / "examples/05_numpy/main.py"))[1]
    drawn = re.findall(r"rank (\d) sends (.*?)  +experts \[(\d), (\d)\] get (.*)$", out, re.MULTILINE)
    assert [int(each[0]) for each in drawn] == [0, 1, 2, 3] and out.count("node ") == 2 and "\nnode 1\n" in out, out
    for rank, (_, sent, *mine, rows) in enumerate(drawn):
        assert sent == (" ".join(f"{'ABCD'[rank]}{token}" for token in range(len(ids[rank]))) or "nothing")
        assert list(map(int, mine)) == [2 * rank, 2 * rank + 1]
        assert rows.split() == [f"{'ABCD'[source]}{token}" for source in range(4) for token, chosen in
                                enumerate(ids[source]) if any(expert // 2 == rank for expert in chosen)]


def test_doctor():
    status, out, err = python("-m", "transload.doctor")
    assert (status, err) == (0, "") and re.search(r"^a group of two +works$", out, re.MULTILINE), out
    assert re.search(rf"^transload +{re.escape(transload.__version__)}, ", out), out
    assert re.search(r"^GPUs +\d+ \S", out, re.MULTILINE), out
    assert re.search(r"^numpy +\d", out, re.MULTILINE) and re.search(r"^loopback +yes$", out, re.MULTILINE), out


def test_doctor_takes_no_arguments():
    status, out, err = python("-m", "transload.doctor", "--bogus")
    assert (status, out) == (2, "") and "unrecognized arguments: --bogus" in err, err


def test_doctor_finds_what_is_broken(monkeypatch, capsys, tmp_path):
    from transload import __main__, doctor

    broken = tmp_path / "transload"
    broken.write_text("#!/bin/sh\necho gone >&2\nexit 9\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(__main__, "PROGRAM", broken)
    assert doctor.main() == 1
    assert "BROKEN: exit status 9: gone" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["numpy", "ml_dtypes", "torch", "cupy", "jax"])
def test_doctor_finds_a_broken_library(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise OSError('libm.so.9 is gone')\n", encoding="utf-8")
    text = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from transload import doctor; sys.exit(doctor.main())"
    status, out, _ = python("-c", text)
    assert status == 1 and re.search(rf"^{name} +BROKEN: OSError\('libm.so.9 is gone'\)$", out, re.MULTILINE), out
    assert re.search(r"^a group of two +works$", out, re.MULTILINE), out


def test_bench_says_how_its_program_is_built(tmp_path):
    status, out, err = python(str(ROOT / "bench/python_calls.py"), "--program", str(tmp_path / "none"))
    build = f"(cd {ROOT} && cmake --preset host && cmake --build --preset host --target bench_python_calls)"
    assert (status, out, err) == (1, "", f"--program {tmp_path / 'none'}: is not there; to build it: {build}\n")


def test_stable_abi():
    """One wheel is for this Python and all later ones; older ones have one each."""
    info = transload.build_info()
    assert info["stable_abi"] == (sys.version_info >= (3, 12))
    assert info["version"] == transload.__version__ and info["networks"]["loopback"] == "yes"
    module = next(FOLDER.glob("_native*.so"))
    assert ("abi3" in module.name) == info["stable_abi"]


def test_types_are_told(tmp_path):
    """What is committed is what the module says of itself."""
    pytest.importorskip("nanobind", reason="nanobind is not installed")
    if sys.version_info < (3, 12):
        pytest.skip("older Pythons list some members in another order")
    assert (FOLDER / "py.typed").exists()
    made = tmp_path / "made.pyi"
    assert python("-m", "nanobind.stubgen", "-q", "-m", "transload._native", "-o", str(made))[0] == 0
    assert made.read_text(encoding="utf-8") == (FOLDER / "_native.pyi").read_text(encoding="utf-8"), (
        "python3 -m nanobind.stubgen -m transload._native -o python/transload/_native.pyi")


def test_types_of_arrays_are_the_callers():
    """To a type checker an `object` has no shape: README's own lines would be wrong."""
    told = ast.parse((FOLDER / "_native.pyi").read_text(encoding="utf-8")).body
    functions = {(each.name, part.name): ast.unparse(part.returns) for each in told if isinstance(each, ast.ClassDef)
                 for part in each.body if getattr(part, "returns", None)}
    arrays = [(kind, name) for kind in ("Dispatched", "Combined") for name in ("x", "topk_weights")]
    assert {functions[each] for each in [*arrays, ("Counted", "token_in_rank"), ("Group", "empty")]} == {"Any"}


def test_what_is_missing_is_named():
    """On a machine without any of it; and ./dev installs all of that."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here")
    # A script of CMake's knows no place of this system where headers lie.
    done = subprocess.run(["cmake", "-DCMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF", "-P", ROOT / "cmake/needs.cmake"],
                          capture_output=True, text=True, timeout=300, check=False)
    named = re.findall(r"^ +(\S+) \(Debian: (\S+)\)$", done.stderr, re.MULTILINE)
    assert done.returncode == 1 and len(named) >= 10 and ("fmt/format.h", "libfmt-dev") in named, done.stderr
    installed = re.search(r"^BUILD_PACKAGES=\((.*?)\)$", (ROOT / "dev").read_text(), re.MULTILINE | re.DOTALL)
    assert {package for _, package in named} <= set(installed[1].split())


def test_names():
    """Everything that the package offers is there and says what it is."""
    for name in transload.__all__:
        each = getattr(transload, name)
        assert name == "__version__" or each.__doc__, name
    for name in ("dispatch", "combine", "empty", "wait", "check", "report", "count", "memory", "decisions",
                 "local_experts", "gather", "close"):
        assert getattr(transload.Group, name).__doc__, name


@pytest.mark.parametrize("kind,bases", [("InvalidArgument", ValueError), ("NotSupported", NotImplementedError),
                                        ("OutOfMemory", MemoryError), ("TooManyRows", RuntimeError),
                                        ("DeviceError", RuntimeError), ("Fault", RuntimeError)])
def test_errors(kind, bases):
    from transload import errors

    each = getattr(transload, kind)
    assert issubclass(each, transload.Error) and issubclass(each, bases) and issubclass(each, RuntimeError)
    made = errors.make(each.code, "words", {"rank": 3} if kind == "Fault" else {})
    assert type(made) is each and str(made) == "words" and made.code == each.code
    assert errors.make("bad_expert_id", "words", {}).code == "bad_expert_id"
    assert kind != "Fault" or made.rank == 3
