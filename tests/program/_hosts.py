# Two hosts of a test: network namespaces joined by a veth pair. Nothing but the network passes between them: abstract
# sockets, and with them shared memory, stay inside a namespace.
import os
import subprocess

PID = os.getpid()
HOSTS = (f"tl{PID}a", f"tl{PID}b")
CABLES = (f"tlv{PID % 100000}a", f"tlv{PID % 100000}b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words, check=True):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
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


def tear_down():
    for host in HOSTS:
        ip("netns", "delete", host, check=False)  # and with it its end of the cable


def none_left():
    return not [name for name in ip("netns", "list").stdout.split() if name in HOSTS]
