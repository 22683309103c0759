"""The connection between the two hosts: they tell each other what they have and how each stage ended. Every wait has a
deadline, and says which host it waited for."""
import json
import os
import select
import socket
import threading
import time

MESSAGE_BYTES_MAX = 1 << 20
ALIVE = {"alive": True}


class WrongUsage(Exception):
    pass


class Failed(Exception):
    pass


def addresses_of(host, port):
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise WrongUsage(f"--hosts: '{host}': not a host that this one knows: {error.strerror}") from None
    return [(family, address) for family, _, _, _, address in found]


def is_here(host):
    for family, address in addresses_of(host, 0):
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            try:
                one.bind(address)
                return True
            except OSError:
                pass
    return False


def listening(host, port):
    family, address = addresses_of(host, port)[0]
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(8)
    except OSError as error:
        server.close()
        raise WrongUsage(f"--port: {port}: {host} cannot listen there: {os.strerror(error.errno)}") from None
    return server


def dialled(host, port, until):
    """A connection, however late its listener comes; None at `until`, with the last reason."""
    reason = "nobody was asked"
    while (left := until - time.monotonic()) > 0:
        for family, address in addresses_of(host, port):
            one = socket.socket(family, socket.SOCK_STREAM)
            one.settimeout(max(0.05, min(left, 5)))
            try:
                one.connect(address)
                return one, ""
            except OSError as error:
                reason = "no answer: is a firewall in between?" if isinstance(error, TimeoutError) else (
                    os.strerror(error.errno) if error.errno else str(error))
                one.close()
        time.sleep(min(0.2, max(0, until - time.monotonic())))
    return None, reason


class Talk:
    """`me`: 0 on the first host, which listens; 1 on the second, which dials."""

    def __init__(self, given):
        self.hosts, self.port, self.patience = given.hosts, given.port, given.patience
        self.me = int(given.me) - 1 if given.me else self.found()
        if not is_here(self.hosts[self.me]):
            raise WrongUsage(f"--hosts: '{self.hosts[self.me]}': not an address of this host")
        self.here, self.there = self.hosts[self.me], self.hosts[1 - self.me]
        self.socket, self.rest, self.sending = None, b"", threading.Lock()

    def found(self):
        mine = [i for i in (0, 1) if is_here(self.hosts[i])]
        if len(mine) == 1:
            return mine[0]
        what = "neither is an address" if not mine else "both are addresses"
        raise WrongUsage(f"--hosts: '{','.join(self.hosts)}': {what} of this host; --me says which it is")

    def meet(self):
        until = time.monotonic() + self.patience
        if self.me == 0:
            server = listening(self.here, self.port)
            server.settimeout(self.patience)
            try:
                self.socket = server.accept()[0]
            except TimeoutError:
                raise Failed(f"meet: host {self.there} did not come to {self.here}:{self.port} in {self.patience} s: "
                             "has it been started, with the same --hosts and --port?") from None
            finally:
                server.close()
        else:
            self.socket, why = dialled(self.there, self.port, until)
            if self.socket is None:
                raise Failed(f"meet: host {self.there} was not reached at port {self.port} in {self.patience} s: {why}")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(self.patience)
        threading.Thread(target=self.keep_alive, daemon=True).start()

    def send(self, message):
        with self.sending:
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def keep_alive(self):
        """Sends signs of life, by which the other host tells a busy host from one that is stopped or cut off."""
        try:
            while True:
                time.sleep(self.patience / 4)
                self.send(ALIVE)
        except OSError:
            pass  # the next wait for the other host says so

    def exchange(self, stage, mine, seconds=0):
        """What both hosts say of a stage, by host. `seconds` is how long the other may need, besides the patience."""
        try:
            self.send({"stage": stage, "said": mine})
            line = self.next_line(stage, seconds + self.patience)
            while line == ALIVE:
                line = self.next_line(stage, seconds + self.patience)
        except OSError as error:
            raise Failed(f"{stage}: {self.gone(os.strerror(error.errno or 0))}") from None
        if not isinstance(line, dict) or "stage" not in line or "said" not in line:
            raise Failed(f"{stage}: what host {self.there} says is not of network_check: {str(line)[:60]}")
        if line["stage"] != stage:
            raise Failed(f"{stage}: host {self.there} is at stage {line['stage']}: have both the same arguments?")
        both = [mine, line["said"]]
        return both if self.me == 0 else both[::-1]

    def gone(self, how):
        return (f"host {self.there} has ended its connection ({how}): its network_check has ended or was killed; what "
                "it printed says more")

    def next_line(self, stage, seconds):
        heard, until = time.monotonic(), time.monotonic() + seconds
        while b"\n" not in self.rest:
            now = time.monotonic()
            if now > until:
                raise Failed(f"{stage}: host {self.there} has not ended this stage in {seconds} s")
            if now > heard + self.patience:
                raise Failed(f"{stage}: host {self.there} said nothing for {self.patience} s: is its network_check "
                             "stopped, or the network cut?")
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            got = self.socket.recv(65536)
            if not got or len(self.rest) > MESSAGE_BYTES_MAX:
                raise Failed(f"{stage}: {self.gone('closed')}")
            self.rest += got
            heard = time.monotonic()
        line, self.rest = self.rest.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError:
            return line.decode(errors="replace")
