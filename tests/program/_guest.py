# An emulated machine with a soft RoCE device: the distribution's kernel (tools/guest_kernel), a file system in memory
# that holds the program, the ladder and what they load, and guest_init.sh. It has no disk and no network but its own,
# needs no root, and is gone with its process. What it says comes over its serial console.
import glob
import os
import platform
import re
import shutil
import subprocess

from _common import PROGRAM, environment, path

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = os.path.join(HERE, "..", "..", "build", "guest")
LADDER = os.path.join(os.path.dirname(PROGRAM), "..", "tests", "ladder_transport")
QEMU = "qemu-system-x86_64"
SYSTEM = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
# libfabric has no verbs where addresses cannot be looked up.
TABLES = ("/etc/hosts", "/etc/protocols", "/etc/services", "/etc/nsswitch.conf")
VERBS_DRIVERS = ("/etc/libibverbs.d/rxe.driver", "/usr/lib/*/libibverbs/librxe-rdmav*.so")
LAST_LINES = 60


def tool(name):
    return shutil.which(name, path=SYSTEM)


def why_not():
    """What the machine lacks here; "" if nothing."""
    if platform.machine() != "x86_64":
        return f"the emulated machine is an x86_64, this one is {platform.machine()}"
    for name, package in ((QEMU, "qemu-system-x86"), ("rdma", "iproute2"), ("setpriv", "util-linux")):
        if tool(name) is None:
            return f"the program {name} ({package}) is not here: ./dev test installs it"
    if not is_static(tool("busybox")):
        return "a static busybox (busybox-static) is not here"
    for pattern in (*TABLES, *VERBS_DRIVERS):
        if not glob.glob(pattern):
            return f"{pattern} is not here (packages netbase, ibverbs-providers)"
    if libfabric() is None:
        return "libfabric.so.1 is not here"
    if not os.path.exists(os.path.join(KERNEL, "vmlinuz")):
        return "no kernel for the emulated machine: ./dev test fetches one"
    return ""


def is_static(program):
    return program is not None and not libraries_of(program)


def libfabric():
    listed = subprocess.run([tool("ldconfig"), "-p"], capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"libfabric\.so\.1 \(libc6,x86-64\) => (\S+)", listed)
    return found and found[1]


def libraries_of(file):
    said = subprocess.run(["ldd", file], capture_output=True, text=True, timeout=60).stdout
    return set(re.findall(r"(/\S+) \(0x", said))


def add(tree, source, target):
    to = os.path.join(tree, target.lstrip("/"))
    os.makedirs(os.path.dirname(to), exist_ok=True)
    shutil.copy(source, to)


def make_image(steps, left_out=None):
    """A file system with `steps` to run, (name, seconds, command) each, and all modules but `left_out`."""
    tree = path("guest")
    for folder in ("bin", "dev", "proc", "sys", "tmp", "modules"):
        os.makedirs(os.path.join(tree, folder))
    programs = {"transload": PROGRAM, "ladder_transport": LADDER, "rdma": tool("rdma"), "busybox": tool("busybox")}
    loaded = [libfabric(), *glob.glob(VERBS_DRIVERS[1])]
    for name, source in programs.items():
        add(tree, source, f"bin/{name}")
    for library in set(loaded).union(*(libraries_of(file) for file in (*programs.values(), *loaded))):
        add(tree, library, library)
    for table in (*TABLES, VERBS_DRIVERS[0]):
        add(tree, table, table)
    for module in glob.glob(os.path.join(KERNEL, "*.ko")):
        if not module.endswith(f"-{left_out}.ko"):
            add(tree, module, "modules/" + os.path.basename(module))
    add(tree, os.path.join(HERE, "guest_init.sh"), "init")
    os.chmod(os.path.join(tree, "init"), 0o755)
    with open(os.path.join(tree, "job"), "w", encoding="utf-8") as job:
        job.writelines(f"step '{name}' {seconds} {command}\n" for name, seconds, command in steps)
    names = "\n".join(os.path.relpath(os.path.join(at, name), tree)
                      for at, folders, files in os.walk(tree) for name in folders + files)
    with open(path("guest.cpio"), "wb") as image:
        subprocess.run([tool("busybox"), "cpio", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=image,
                       stderr=subprocess.DEVNULL, check=True, timeout=60)
    shutil.rmtree(tree)
    return path("guest.cpio")


class Console:
    """What a machine said until it was gone."""

    def __init__(self, text, why_ended):
        self.lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).rstrip("\r") for line in text.split("\n")]
        self.why_ended = why_ended  # "" if it powered itself off after its last step
        if not why_ended and "== all is done" not in self.lines:
            self.why_ended = "it ended before its last step"

    def last(self):
        return "\n".join("  | " + line for line in self.lines[-LAST_LINES:])

    def step(self, name):
        """Exit status of a step, None if it did not end, and its lines."""
        begin = f"== {name} begins"
        if begin not in self.lines:
            return None, []
        said = []
        for line in self.lines[self.lines.index(begin) + 1 :]:
            ended = re.fullmatch(rf"== {re.escape(name)} ends with (\d+) at .*", line)
            if ended:
                return int(ended[1]), said
            said.append(line)
        return None, said


def boot(image, seconds):
    """Boots it and waits until it is gone; it is killed after so many seconds, and with this process."""
    command = [tool("setpriv"), "--pdeathsig", "KILL", tool(QEMU), "-accel", "tcg,thread=multi", "-cpu", "max"]
    command += ["-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none"]
    command += ["-serial", "stdio", "-no-reboot", "-kernel", os.path.join(KERNEL, "vmlinuz"), "-initrd", image]
    # A panic restarts the machine, and a restart ends it.
    command += ["-append", "console=ttyS0 quiet loglevel=4 oops=panic panic=-1 mitigations=off"]
    with open(path("console"), "wb+") as console:
        machine = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=console,
                                   stderr=subprocess.STDOUT)
        why_ended = ""
        try:
            status = machine.wait(timeout=seconds)
            if status != 0:
                why_ended = f"{QEMU} ended with {status}"
        except subprocess.TimeoutExpired:
            why_ended = f"it was still running after {seconds} s"
        finally:
            machine.kill()
            machine.wait()
        console.seek(0)
        return Console(console.read().decode(errors="replace"), why_ended)
