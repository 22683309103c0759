# Bad usage and bad input: exit status 2, one line on stderr that names the argument, nothing on stdout, nothing left.
# Contract 7.6.
import os
import resource
import shutil
import struct
import subprocess

from _common import FOLDER, PROGRAM, expect, finish_test, path, run, write_file


def refused(named, *arguments, extra=None, **how):
    before = set(os.listdir(FOLDER.name))
    status, out, err = run(*arguments, extra=extra, **how)
    good = status == 2 and out == "" and err.count("\n") == 1 and named in err and err.startswith("transload: ")
    good = good and set(os.listdir(FOLDER.name)) == before
    expect(good, f"{' '.join(arguments)[:90]} -> {status}: {err.strip()[:140]}")


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


for named, *arguments in (
    ("subcommand",),
    ("frob", "frob"),
    ("'--bogus': not an option of transload run: `transload run --help` lists them", "run", "--bogus"),
    ("'--expe': not an option of transload run", "run", "--expe", "5"),
    ("'5': belongs to no option of transload run", "run", "--tokens", "1", "5"),
    ("'--tokens': not an option of transload", "run", "--", "--tokens", "5"),
    ("'--bogus': not an option of transload sim: `transload sim --help` lists them", "sim", "--bogus"),
    ("'x': belongs to no option of transload limits", "limits", "x"),
    ("'--seed': not an option of transload: `transload --help` lists them", "--seed", "3", "run"),
    ("'--tokens': not an option of transload link", "link", "--tokens", "3"),
    ("--rows: '0': must be a whole number from 1 to", "link", "--rows", "0"),
    ("--row-bytes: 24: must be a multiple of 16", "link", "--row-bytes", "32,24"),
    ("--row-bytes: '2097152': must be", "link", "--row-bytes", "2097152"),
    ("--deadline-ms: '49': must be", "link", "--deadline-ms", "49"),
    ("link: no launcher: must be two ranks or more", "link"),
    ("--rail-queue: '31': must be a whole number from 32 to", "run", "--rail-queue", "31"),
    ("--rail-batch: '40000': must be", "run", "--rail-batch", "40000"),
    ("rail_batch: 9, must be 1 to 8", "run", "--rail-batch", "9", "--node-sizes", "2"),
    ("--quiet: takes no value", "run", "--quiet=3"),
    ("--go-on: takes no value", "sim", "--go-on=1"),
    ("--landing: no value: must be auto|direct|ring (`transload run --help` says more)", "run", "--landing"),
    ("--exhaustive: no value: must be WORLD|all (`transload sim --help` says more)", "sim", "--exhaustive"),
    ("--json: no value: must be FILE|-", "run", "--json", ""),
    ("--top-k: no value: must be N", "run", "--top-k="),
    ("--scenario: no value", "sim", "--scenario", ""),
    ("--scenario: foo: must be the path of a .toml file, or one of ours, ", "sim", "--scenario", "foo"),
    ("--node-sizes: ranks in all: 4098, must be 1 to 4096", "run", "--node-sizes", ",".join(["683"] * 6)),
    ("--node-sizes: streams between peers (streams x largest node): 8192, must be", "run", "--node-sizes", "64,1"),
    ("--hidden: 1048576: a row has 8192 words of scales, must be at", "run", "--hidden", "1048576", "--dtype", "fp8"),
    ("--deadline-ms: '49': must be a whole number from 50 to", "run", "--deadline-ms", "49"),
    ("--create-deadline-ms: '49': must be", "run", "--create-deadline-ms", "49"),
    ("--node-sizes", "run", "--node-sizes", "0"),
    ("--node-sizes", "run", "--node-sizes", "2,,2"),
    ("--node-sizes", "run", "--node-sizes", "99999"),
    ("--tokens", "run", "--tokens", "1,2,3"),
    ("--tokens", "run", "--tokens", "-1"),
    ("--tokens", "run", "--tokens", "1e3"),
    ("--hidden", "run", "--hidden", "0"),
    ("--hidden", "run", "--hidden", "12"),
    ("--hidden", "run", "--hidden", "99999992"),
    ("--hidden", "run", "--hidden", "24", "--dtype", "fp8"),
    ("--dtype", "run", "--dtype", "fp4"),
    ("--scales", "run", "--scales", "fp32"),
    ("--scales", "run", "--scales", "bf16", "--dtype", "fp8"),
    ("--rows-max", "run", "--rows-max", "0"),
    ("--rows-max", "run", "--rows-max", "4097", "--tokens", "512"),
    ("--overflow", "run", "--overflow", "drop"),
    ("--overflow", "run", "--overflow", "spill", "--rows-max", "5"),
    ("--floor", "run", "--floor", "--dtype", "fp8", "--node-sizes", "2"),
    ("--experts", "run", "--experts", "0"),
    ("--top-k", "run", "--top-k", "33"),
    ("--top-k", "run", "--top-k", "0"),
    ("--routing", "run", "--routing", "zipf:"),
    ("--routing", "run", "--routing", "zipf:x"),
    ("--routing: no value: must be FILE|uniform|", "run", "--routing", ""),
    ("'/nowhere': no such file: must be a safetensors file, uniform, zipf:S (S", "run", "--routing", "/nowhere"),
    ("'zipf': no such file: must be a safetensors file, uniform, zipf:S (S", "run", "--routing", "zipf"),
    ("--layer", "run", "--layer", "3"),
    ("--seed", "run", "--seed", "x"),
    ("--seed: no value: must be N", "run", "--seed"),
    ("--iterations", "run", "--iterations", "0"),
    ("--warmup", "run", "--warmup", "-1"),
    ("--channels", "run", "--channels", "0"),
    ("--channels", "run", "--channels", "99999"),
    ("--slots", "run", "--slots", "0"),
    ("--landing", "run", "--landing", "up"),
    ("--combine-source", "run", "--combine-source", "x"),
    ("--combine-wire", "run", "--combine-wire", "fp8"),
    ("--biases", "run", "--biases", "3"),
    ("--scale-out", "run", "--scale-out", "x"),
    ("--provider", "run", "--provider", "tcp", "--scale-out", "loopback"),
    ("--deadline-ms", "run", "--deadline-ms", "0"),
    (
        "provider",
        "run",
        "--node-sizes",
        "1,1",
        "--tokens",
        "4",
        "--hidden",
        "8",
        "--scale-out",
        "libfabric",
        "--provider",
        "nonesuch",
    ),
    ("--device", "run", "--device", "gpu"),
    ("--device", "run", "--device", ""),
    ("--sms", "run", "--sms", "8"),
    ("--gpus", "run", "--gpus", "1"),
    ("--ranks-per-gpu", "run", "--ranks-per-gpu", "2"),
    ("--graph", "run", "--graph", "--rows-max", "9"),
    ("--graph", "run", "--device", "cuda", "--graph"),
    ("--sms", "run", "--device", "cuda", "--sms", "0"),
    ("--sms", "run", "--device", "cuda", "--sms", "-3"),
    ("--gpus", "run", "--device", "cuda", "--gpus", "0"),
    ("--gpus", "run", "--device", "cuda", "--gpus", "1025"),
    ("--ranks-per-gpu", "run", "--device", "cuda", "--ranks-per-gpu", "9"),
    ("--provider", "run", "--device", "cuda", "--provider", "tcp", "--scale-out", "loopback"),
    ("PHASE must be expert", "run", "--device", "cuda", "--fault", "kill:1@1"),
    ("PHASE must be expert", "run", "--device", "cuda", "--fault", "stop:1@1/combine"),
    ("--floor", "run", "--device", "cuda", "--floor", "--node-sizes", "2"),
    ("--fault", "run", "--fault", "maim:1@1"),
    ("--fault", "run", "--fault", "kill:8@1"),
    ("--fault", "run", "--fault", "kill:1@6"),
    ("--fault", "run", "--fault", "kill:1@0"),
    ("--fault", "run", "--fault", "kill:1"),
    ("--fault", "run", "--fault", "stop:1@1/lunch"),
    ("--fault", "run", "--fault", "kill:0@1", "--node-sizes", "1"),
    ("--fault", "run", "--fault", "kill:0@1", "--threads"),
    ("--fault", "run", "--fault", "absent:0@1/combine"),
    ("--fault", "run", "--fault", "leave:0@6"),
    ("--recover", "run", "--recover"),
    ("--soak", "run", "--soak", "0"),
    ("--soak", "run", "--soak", "x"),
    ("--soak: takes only", "run", "--soak", "1", "--hidden", "64"),
    ("--node-sizes", "run", "--soak", "1", "--node-sizes", "1"),
    ("--fault", "run", "--fault", "kill:1@1", "--routing", "none"),
    ("--fault", "run", "--fault", "kill:1@1/expert", "--routing", "one-rank"),
    ("--json: '/nowhere/x.json': folder '/nowhere': No such file", "run", "--json", "/nowhere/x.json"),
    ("--json: '/tmp': a folder", "run", "--json", "/tmp"),
    ("--json: '/dev/zero': a device", "run", "--json", "/dev/zero"),
    ("--dump", "run", "--dump", "/proc/nowhere"),
    ("--routing: '/tmp': a folder", "run", "--routing", "/tmp"),
    ("--routing: '/dev/zero': a device", "run", "--routing", "/dev/zero"),
    ("--scenario: /dev/zero: a device", "sim", "--scenario", "/dev/zero"),
    ("--scenario: /dev: a folder", "sim", "--scenario", "/dev"),
    ("--scenario: /nowhere/x.toml", "sim", "--scenario", "/nowhere/x.toml"),
    ("--tokens", "run", "--tokens", "1000000", "--hidden", "7168"),
):
    refused(named, *arguments)

# Nobody writes to this pipe and nobody reads from it: whoever opens it waits for ever.
os.mkfifo(path("pipe.toml"))
os.mkdir(path("dump"))
os.mkfifo(path("dump/rank3.safetensors"))
refused("pipe.toml': a pipe", "run", "--routing", path("pipe.toml"))
refused("pipe.toml': a pipe", "run", "--json", path("pipe.toml"))
refused("rank3.safetensors': a pipe", "run", "--dump", path("dump"))
refused("pipe.toml: a pipe", "sim", "--scenario", path("pipe.toml"))

# What only the program gives to itself, given by somebody else.
child = {"TRANSLOAD_RANK": "0", "TRANSLOAD_RANKS": "2", "TRANSLOAD_SERVED": "1", "TRANSLOAD_REPORT_FILE": "1"}
for file in ("0", "x", "-1", "99999999999"):
    refused("TRANSLOAD_BOARD_FILE", "run", "--node-sizes", "2", extra={**child, "TRANSLOAD_BOARD_FILE": file})

ids, weights = struct.pack("<8h", *range(8)), struct.pack("<8e", *[0.5] * 8)
good = {"topk_idx": tensor("I16", [4, 2], 0, 16), "topk_weights": tensor("F16", [4, 2], 16, 32)}
small = (
    "run",
    "--node-sizes",
    "2",
    "--tokens",
    "2",
    "--hidden",
    "8",
    "--experts",
    "8",
    "--iterations",
    "1",
    "--routing",
)
status, _, err = run(*small, write_file("good", good, ids + weights), "--quiet")
expect(status == 0, f"a good file is taken {err}")
files = {
    "empty": (b"", b"", 0),
    "no header": (b"{}", b"", 999),
    "huge header": (b"{}", b"", 2**63),
    "not JSON": (b"{,}", b"", 3),
    "a list": (b"[1]", b"", 3),
    "missing": ({"topk_idx": good["topk_idx"]}, ids, None),
    "data cut": (good, ids, None),
    "wrong dtype": ({**good, "topk_idx": tensor("U8", [16, 1], 0, 16)}, ids + weights, None),
    "float ids": ({**good, "topk_idx": tensor("F16", [4, 2], 0, 16)}, ids + weights, None),
    "shape and bytes": ({**good, "topk_idx": tensor("I16", [5, 2], 0, 16)}, ids + weights, None),
    "shape overflows": ({**good, "topk_idx": tensor("I16", [2**62, 8], 0, 16)}, ids + weights, None),
    "three dimensions": ({**good, "topk_idx": tensor("I16", [2, 2, 2], 0, 16)}, ids + weights, None),
    "shapes differ": ({**good, "topk_weights": tensor("F16", [8, 1], 16, 32)}, ids + weights, None),
    "offsets backwards": ({**good, "topk_idx": tensor("I16", [4, 2], 16, 0)}, ids + weights, None),
    "negative shape": ({**good, "topk_idx": tensor("I16", [-4, -2], 0, 16)}, ids + weights, None),
    "no shape": ({**good, "topk_idx": {"dtype": "I16"}}, ids + weights, None),
    "expert out of range": (good, struct.pack("<8h", 0, 1, 2, 3, 4, 5, 6, 8) + weights, None),
    "expert below -1": (good, struct.pack("<8h", 0, 1, 2, 3, 4, 5, 6, -2) + weights, None),
}
for name, (header, data, header_bytes) in files.items():
    refused("--routing", *small, write_file(name, header, data, header_bytes))
refused("--tokens", *small, path("good"), "--tokens", "3")
refused("--top-k", *small, path("good"), "--top-k", "3")
refused("layer7.topk_idx", *small, path("good"), "--layer", "7")
refused(
    "--node-sizes",
    "run",
    "--node-sizes",
    "2,2",
    "--tokens",
    "4",
    "--hidden",
    "8",
    extra={"RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1"},
)
refused(
    "WORLD_SIZE",
    "run",
    "--node-sizes",
    "2",
    "--tokens",
    "4",
    "--hidden",
    "8",
    extra={"RANK": "0", "MASTER_ADDR": "127.0.0.1"},
)

under = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
refused("--fault: leave", "run", "--node-sizes", "2", "--fault", "leave:1@1", extra=under)
refused("--soak: is not allowed under a launcher (torchrun: rank 0 of 2", "run", "--soak", "1", extra=under)
refused("--threads: is not allowed under a launcher (--launcher", "run", "--node-sizes", "2", "--threads", extra=under)
refused("--launcher torchrun, --launcher pmi or --launcher none", *small, path("good"),
        extra={**under, "PMI_RANK": "1", "PMI_SIZE": "2"})
served = {**child, "MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": "1"}
status, out, _ = run("run", "--node-sizes", "2", "--tokens", "4", "--deadline-ms", "300", "--quiet", extra=served)
expect(status == 3 and "TRANSLOAD_SERVED is 1" in out, f"a rendezvous that another process should serve: {out}")

# An ordinary user, whom permissions and limits hold. One line, however many ranks there are, and before they start.
if os.geteuid() == 0:
    ORDINARY = 65533  # whose processes are only these
    FEW = ("run", "--node-sizes", "4", "--tokens", "4", "--hidden", "16")
    os.chmod(FOLDER.name, 0o755)
    shutil.copy(PROGRAM, path("transload"))
    os.mkdir(path("read"), 0o755)
    os.mkdir(path("closed"), 0o700)

    def held(named, *arguments, **limits):
        def lower():
            for name, most in limits.items():
                resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))

        refused(named, *arguments, program=path("transload"), user=ORDINARY, group=ORDINARY, extra_groups=[],
                preexec_fn=lower)

    read = path("read")
    held(f"--dump: '{read}/rank0.safetensors': folder '{read}': Permission denied", *FEW, "--dump", read)
    held("more': no folder, and none can be made: Permission denied", *FEW, "--dump", read + "/more")
    held("more': no folder, and none can be made: Permission denied", *FEW, "--dump", path("closed/more"))
    held(f"--json: '{read}/x': folder '{read}': Permission denied", *FEW, "--json", read + "/x")
    held("closed/more/x': Permission denied", *FEW, "--json", path("closed/more/x"))
    held("rendezvous: cannot listen on 127.0.0.1:0: Too many open files (ulimit -n 5)", *FEW, NOFILE=5)
    held("--node-sizes: rank 0: a pipe cannot be made: Too many open files (ulimit -n 10)", *FEW, NOFILE=10)
    held("--device: 'cuda': a pipe cannot be made: Too many open files (ulimit -n 4)", *FEW, "--device", "cuda",
         NOFILE=4)
    held("rendezvous: a thread cannot be started: Resource temporarily unavailable (ulimit -u 1)", *FEW, NPROC=1)
    held("--node-sizes: rank 1: a process cannot be started: Resource temporarily unavailable (ulimit -u 3)", *FEW,
         NPROC=3)
    held("4 ranks in a process: a thread cannot be started: Resource temporarily unavailable (ulimit -u 3)", *FEW,
         "--threads", NPROC=3)
else:
    print("SKIPPED what holds an ordinary user: only root can become one")

# With no GPU to be seen, whatever there is: every way of starting ranks says why, and so does `limits`.
nothing = {"CUDA_VISIBLE_DEVICES": ""}
status, out, err = run("limits", extra=nothing)
told = [line.split(maxsplit=2) for line in out.split("\n") if line.startswith("gpus ")]
expect(status == 0 and len(told) == 1 and told[0][1] == "0" and told[0][2].startswith("no GPU: "), f"limits: {told}")
on_gpus = ("run", "--device", "cuda", "--node-sizes", "2", "--tokens", "4", "--hidden", "16")
refused("'cuda': no GPU: ", *on_gpus, extra=nothing)
refused("'cuda': no GPU: ", *on_gpus, "--threads", extra=nothing)
refused("'cuda': no GPU: ", *on_gpus, "--rows-max", "8", "--graph", extra=nothing)
refused(
    "'cuda': no GPU: ",
    *on_gpus,
    extra={**nothing, "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"},
)

for arguments in (("--help",), ("run", "--help"), ("--version",), ("limits",)):
    status, out, err = run(*arguments)
    expect(status == 0 and out != "" and err == "", f"{' '.join(arguments)} -> {status}")
with open("/dev/full", "w") as full:
    command = [PROGRAM, "run", "--tokens", "4", "--hidden", "64"]
    lost = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
expect(lost.returncode == 2 and "standard output: No space left" in lost.stderr, f"a table that is lost: {lost.stderr}")
finish_test()
