"""A clone in which two build at a time, one who may not write, and what ./dev says of wrong usage."""
import fcntl
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 60


@pytest.fixture(name="backend")
def backend_over(monkeypatch, tmp_path):
    """python/backend/one_at_a_time.py over a builder that notes what it is called with, in an empty clone."""
    build = types.ModuleType("scikit_build_core.build")
    build.seen, build.inside = [], lambda: None

    def build_wheel(folder, settings=None, metadata=None):
        build.seen.append(settings)
        build.inside()
        return "a.whl"

    build.build_wheel = build.build_editable = build_wheel
    build.get_requires_for_build_wheel = lambda settings=None: ["cmake"]
    package = types.ModuleType("scikit_build_core")
    package.build = build
    monkeypatch.setitem(sys.modules, "scikit_build_core", package)
    monkeypatch.setitem(sys.modules, "scikit_build_core.build", build)
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("one_at_a_time", ROOT / "python/backend/one_at_a_time.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, build


def test_builds_take_turns(backend):
    module, build = backend
    first, go, second = threading.Event(), threading.Event(), threading.Event()

    def inside():
        if not first.is_set():
            first.set()
            assert go.wait(PATIENCE_S)
        else:
            second.set()

    build.inside = inside
    threads = [threading.Thread(target=call, args=(".",)) for call in (module.build_wheel, module.build_editable)]
    threads[0].start()
    assert first.wait(PATIENCE_S)
    threads[1].start()
    with open("build/python/lock", encoding="utf-8") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not second.is_set()
    go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert second.is_set() and build.seen == [None, None]
    assert module.get_requires_for_build_wheel() == ["cmake"]


def test_a_clone_that_cannot_be_written(backend):
    module, build = backend
    pathlib.Path("build").write_text("no folder\n", encoding="utf-8")
    build.inside = lambda: build.seen.append(os.path.isdir(build.seen[-1]["build-dir"]))
    assert module.build_wheel(".", {"cmake.define.A": "1"}) == "a.whl"
    settings, there = build.seen
    assert there and settings["cmake.define.A"] == "1" and not os.path.exists(settings["build-dir"])


@pytest.fixture(name="dev")
def dev_in_a_clone(tmp_path):
    """./dev where nothing is missing, and CMake fails."""
    shutil.copy(ROOT / "dev", tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=lambda folder, names: set(names) - {"run_tests.sh"})
    doubles = tmp_path / "doubles"
    doubles.mkdir()
    for name, text in (("cmake", "exit 9"), ("dpkg-query", "echo -n installed")):
        (doubles / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (doubles / name).chmod(0o755)

    def start(*arguments):
        return subprocess.Popen([tmp_path / "dev", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, env={**os.environ, "PATH": f"{doubles}:{os.environ['PATH']}"})

    return start, tmp_path


@pytest.mark.parametrize("arguments,words", [
    (("bogus",), "no command 'bogus'; see ./dev help"),
    (("python", "--cuda"), "python: takes no arguments, but got: --cuda"),
    (("bench",), "bench: '', must be cpu or simulator"),
    (("test", "--bogus"), "test: no option '--bogus'; see ./dev help"),
    (("test", "--only"), "--only needs a regular expression"),
])
def test_dev_says_what_is_wrong(dev, arguments, words):
    process = dev[0](*arguments)
    assert process.communicate(timeout=PATIENCE_S)[0] == f"./dev: {words}\n" and process.returncode == 1


def test_dev_waits_for_another_one(dev):
    start, clone = dev
    (clone / "build/log").mkdir(parents=True)
    with open(clone / "build/log/lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start("demo")
        assert process.stdout.readline() == "another ./dev builds in this clone: waiting for it\n"
    said = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 1 and "FAILED 9" in said, said


def test_dev_in_a_clone_that_cannot_be_written(dev):
    start, clone = dev
    (clone / "build").write_text("no folder\n", encoding="utf-8")
    process = start("demo")
    said = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 1 and said.startswith(f"./dev: {clone}/build cannot be written by "), said
