"""python -m transload.doctor: Shows which libraries of arrays, networks and GPUs Transload finds on this machine, and
tries whether a group of two ranks works. Exit status: 0 if all that is installed works, 1 if something does not."""
import argparse
import importlib.metadata
import importlib.util
import pathlib
import platform
import subprocess
import sys
import threading

import transload
from transload import __main__ as program


_UNKNOWN = "without a version"


def _line(name, text):
    print(f"{name:<20}{text}", flush=True)


def _version(module):
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return _UNKNOWN


def _library(name, *modules):
    """Says whether a library of arrays is installed. Returns False if it or one of `modules` fails to load."""
    if importlib.util.find_spec(name) is None:
        _line(name, "not installed")
        return True
    try:
        library = importlib.import_module(name)
        for module in modules:
            importlib.import_module(module)
    except Exception as error:  # pylint: disable=broad-except  # whatever an import of it raises
        _line(name, f"BROKEN: {error!r}")
        return False
    _line(name, getattr(library, "__version__", _UNKNOWN) + (_way(library) if name == "torch" else ""))
    return True


def _way(torch):
    table = "DLPack's C exchange table" if transload.has_exchange_table(torch.Tensor) else "__dlpack__"
    return f", its tensors cross by {table}"


def _libraries():
    """Says whose arrays calls can take. Returns whether every library that is installed works."""
    needs = {"numpy": (), "ml_dtypes": (), "torch": ("transload.torch",), "cupy": (), "jax": ("jax.dlpack",)}
    works = [_library(name, *modules) for name, modules in needs.items()]
    _line("deep_ep", _deep_ep())
    return all(works)


def _deep_ep():
    """Says which module `import deep_ep` loads: two packages have one, and both may be installed."""
    found = importlib.util.find_spec("deep_ep")
    if found is None or found.origin is None:
        return "not installed; python -m transload.deep_ep SCRIPT has it"
    ours = "transload.deep_ep" in pathlib.Path(found.origin).read_text(encoding="utf-8")
    packages = [f"{name} {_version(name)}" for name in ("transload-deep-ep", "deep_ep") if _version(name) != _UNKNOWN]
    return f"{'Transload' if ours else 'another library'}'s, {found.origin}; installed: {', '.join(packages) or 'none'}"


def _program():
    done = subprocess.run([program.PROGRAM, "limits"], capture_output=True, text=True, check=False)
    if done.returncode:
        _line("the program", f"BROKEN: exit status {done.returncode}: {done.stderr.strip()}")
        return False
    _line("the program", str(program.PROGRAM))
    told = [" ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("gpu")]
    gpus = [line.removeprefix("gpus ") for line in told]
    _line("GPUs", "; ".join(gpus) or "not asked for")
    return True


def _trip(rank, rendezvous, wrong):
    try:
        with transload.Group(rank, 2, nodes=(1, 1), experts=2, hidden=16, bootstrap=rendezvous) as group:
            x = memoryview(bytes(range(32)) * 2).cast("B", (2, 32))
            ids = memoryview(b"\0\0\0\0\1\0\0\0").cast("B").cast("i", (2, 1))
            weights = memoryview(bytes(8)).cast("B").cast("f", (2, 1))
            got = group.dispatch(x, ids, weights)
            if memoryview(got.x).tobytes() != bytes(range(32)) * 2 or memoryview(got.source).tolist() != [
                [0, rank],
                [1, rank],
            ]:
                wrong.append(f"rank {rank} got other rows than were sent")
    except transload.Error as error:
        wrong.append(str(error))


def _group():
    """Makes a dispatch in a group of two nodes with one rank each, as threads. Returns whether it works."""
    rendezvous, wrong = transload.Rendezvous(), []
    ranks = [threading.Thread(target=_trip, args=(rank, rendezvous, wrong)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    _line("a group of two", f"BROKEN: {wrong[0]}" if wrong else "works")
    return not wrong


def main(arguments=()):
    argparse.ArgumentParser(prog="python -m transload.doctor", description=__doc__.partition(": ")[2]).parse_args(
        arguments)
    info = transload.build_info()
    _line("transload", f"{transload.__version__}, {'with' if info['cuda'] else 'without'} CUDA, gcc {info['compiler']}")
    _line("Python", f"{platform.python_version()}, {'stable ABI' if info['stable_abi'] else 'this version alone'}")
    for network, there in info["networks"].items():
        _line(network, there)
    return 0 if all([_libraries(), _program(), _group()]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
