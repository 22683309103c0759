# Two hosts of a test: network namespaces joined by a veth pair. Nothing but the network passes between them: abstract
# sockets, and with them shared memory, stay inside a namespace.
import json
import os
import subprocess
import time

PID = os.getpid()
HOSTS = (f"tl{PID}a", f"tl{PID}b")
CABLES = (f"tlv{PID % 100000}a", f"tlv{PID % 100000}b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words, check=True):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done


def build():
    for host in HOSTS:
        ip("netns", "add", host)
    ip("link", "add", CABLES[0], "netns", HOSTS[0], "type", "veth", "peer", "name", CABLES[1], "netns", HOSTS[1])
    for host, cable, address in zip(HOSTS, CABLES, ADDRESSES):
        ip("-n", host, "address", "add", f"{address}/24", "dev", cable)
        ip("-n", host, "link", "set", "lo", "up")
        ip("-n", host, "link", "set", cable, "up")


def carried():
    """Bytes that have left the first host."""
    with_counts = json.loads(ip("-n", HOSTS[0], "-s", "-j", "link", "show", "dev", CABLES[0]).stdout)
    return with_counts[0]["stats64"]["tx"]["bytes"]


def await_rows(most_s=300):
    """Until so much has crossed that only rows can be it: what makes a group is far less."""
    begin, end = carried(), time.monotonic() + most_s
    while carried() < begin + (4 << 20) and time.monotonic() < end:
        time.sleep(0.05)


def tear_down():
    for host in HOSTS:
        ip("netns", "delete", host, check=False)  # and with it its end of the cable


def none_left():
    return not [name for name in ip("netns", "list").stdout.split() if name in HOSTS]
