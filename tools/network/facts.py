"""What a host has, as the system tells an ordinary user."""
import os
import platform
import resource
import socket
import subprocess

NET, INFINIBAND, NVIDIA_DRIVER = "/sys/class/net", "/sys/class/infiniband", "/proc/driver/nvidia"


def text_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""  # not there, or of an interface that is down


def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def interfaces():
    addresses = {}
    try:
        done = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, timeout=20, check=False)
        for line in done.stdout.splitlines():
            words = line.split()
            addresses.setdefault(words[1].split("@")[0], []).append(words[3])
    except (OSError, subprocess.TimeoutExpired, IndexError):
        pass  # without iproute2 names and speeds remain
    found = []
    for name in listed(NET):
        speed = text_of(f"{NET}/{name}/speed")
        found.append({"name": name, "state": text_of(f"{NET}/{name}/operstate"), "mtu": text_of(f"{NET}/{name}/mtu"),
                      "mbit_per_s": int(speed) if speed.isdigit() else None, "addresses": addresses.get(name, [])})
    return found


def rdma_devices():
    found = []
    for name in listed(INFINIBAND):
        ports = []
        for port in listed(f"{INFINIBAND}/{name}/ports"):
            at = f"{INFINIBAND}/{name}/ports/{port}"
            ports.append({"port": port, "state": text_of(f"{at}/state"), "rate": text_of(f"{at}/rate"),
                          "layer": text_of(f"{at}/link_layer")})
        found.append({"name": name, "driver": os.path.basename(os.path.realpath(f"{INFINIBAND}/{name}/device/driver")),
                      "firmware": text_of(f"{INFINIBAND}/{name}/fw_ver"), "ports": ports})
    return found


def nvidia_driver():
    """The driver's version, and whether GPUs may ring a NIC's doorbell, which a key of its registry says."""
    version = text_of(f"{NVIDIA_DRIVER}/version").splitlines()
    keys = [line.split(":", 1)[1].strip() for line in text_of(f"{NVIDIA_DRIVER}/params").splitlines()
            if line.startswith("RegistryDwords:")]
    return {"version": version[0] if version else "", "registry": " ".join(keys),
            "doorbells": any("PeerMappingOverride=1" in key for key in keys)}


def modules():
    """The loaded kernel modules that let a NIC or a host reach memory of a GPU."""
    return [name for name in ("nvidia_peermem", "nv_peer_mem", "gdrdrv") if os.path.isdir(f"/sys/module/{name}")]


def program_facts(program):
    """The version of this build, and what its `limits` says of networks, GPUs and which NIC is near which; else why
    not."""
    facts = {"version": "", "libfabric": "", "providers": [], "nics": [], "near": [], "gpus": [], "why": "",
             "no_gpu": "", "nvshmem": False, "nvshmem_text": ""}
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
        limits = subprocess.run([program, "limits"], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return facts | {"why": f"{program}: {error}"}
    facts["version"] = told.stdout.strip()
    lists = {"network": "providers", "nic": "nics", "near": "near", "gpu": "gpus"}
    for line in limits.stdout.splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0] in lists:
            facts[lists[words[0]]].append(words[2])
        if words[:2] == ["networks", "0"]:
            facts["why"] = words[2]
        elif words[:1] == ["networks"]:
            facts["libfabric"] = words[2].split(",")[0].removeprefix("of ")
        if words[:2] == ["gpus", "0"]:
            facts["no_gpu"] = words[2]
        if words[:1] == ["nvshmem"] and words[1] in ("yes", "no"):
            facts |= {"nvshmem": words[1] == "yes", "nvshmem_text": words[2]}
    if limits.returncode != 0 or not facts["version"]:
        facts["why"] = f"{program} limits: exit status {limits.returncode}: {limits.stderr.strip()[:200]}"
    return facts


def of_this_host(program):
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return {"host": socket.gethostname(), "kernel": platform.release(), "cpus": os.cpu_count(),
            "interfaces": interfaces(), "rdma": rdma_devices(), "nvidia": nvidia_driver(), "modules": modules(),
            "locked_bytes": None if locked == resource.RLIM_INFINITY else locked, **program_facts(program)}
