# What the tests of tools/network_check share: it on both hosts, and programs that do mischief.
import json
import os
import shutil
import stat
import subprocess
import sys

from _common import PATIENCE_S, PROGRAM, environment, expect, path, skip
from _hosts import ADDRESSES, HOSTS, build, none_left, tear_down

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/network_check")
PROVIDER = "tcp;ofi_rxm"
PORT = 23910
STAGES = ["meet", "here", f"reach {ADDRESSES[0]} from {ADDRESSES[1]}", f"reach {ADDRESSES[1]} from {ADDRESSES[0]}",
          f"link {PROVIDER}", f"run {PROVIDER}", f"raw writes of as many rows, {PROVIDER}", f"kill {PROVIDER}"]
# A million rows of each size, and a job to be timed, are for cables: fewer here, and --rows and --tokens say how many.
QUICK = ("--provider", PROVIDER, "--rows", "300", "--row-bytes", "256,14336", "--tokens", "16", "--patience", "60",
         "--port", str(PORT))
SESSION_S = 3 * PATIENCE_S  # for what hangs: a session has many stages, each of which has a bound of its own
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def anybody_may(*words):
    return subprocess.run([*NOBODY, *words], capture_output=True, check=False).returncode == 0


class Side:
    """network_check on one host."""

    def __init__(self, host, *arguments, user=(), program=PROGRAM, hosts=",".join(ADDRESSES)):
        self.out = path(f"out{host}")
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        os.chmod(self.out, 0o777)
        command = ["ip", "netns", "exec", HOSTS[host], *user, sys.executable, TOOL, "--hosts", hosts, "--program",
                   program, "--out", self.out, *arguments]
        self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)

    def finish(self, seconds=SESSION_S):
        try:
            self.said = self.process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.said = self.process.communicate()[0] + f"\nstill running after {seconds} s"
        return self.process.returncode

    def result(self):
        try:
            with open(os.path.join(self.out, "result.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {"lines": [], "table": {}, "verdict": "none"}


def both(*arguments, seconds=SESSION_S, **how):
    sides = [Side(host, *arguments, **how) for host in (0, 1)]
    for side in sides:
        side.finish(seconds)
    return sides


def told(what, sides, status, *words):
    """Both end so, and each of these words is in what both say."""
    for host, side in enumerate(sides):
        missing = [word for word in words if word not in side.said]
        expect(side.process.returncode == status and not missing,
               f"{what}: host {host + 1}: {side.process.returncode}, missing {missing}"
               + (f": {side.said[-1500:]}" if missing or side.process.returncode != status else ""))


def mischief(name, text):
    """A program that is like ours but for what it does to its arguments."""
    file = path(name)
    with open(file, "w", encoding="utf-8") as script:
        script.write(f"#!/bin/bash\nprogram={PROGRAM}\n{text}\nexec \"$program\" \"$@\"\n")
    os.chmod(file, os.stat(file).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return file


def on_two_hosts(body):
    """Runs it between two network namespaces, or skips."""
    if shutil.which("ip") is None:
        skip("network_check: the program ip (iproute2) is not here")
    try:
        try:
            build()
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            skip(f"network_check: no network namespaces here: {error}")
        if not subprocess.run([PROGRAM, "limits"], capture_output=True, text=True, check=False).stdout.count(PROVIDER):
            skip(f"network_check: libfabric has no {PROVIDER} here")
        body()
    finally:
        tear_down()
    expect(none_left(), "no namespace is left")
