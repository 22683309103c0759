"""How ranks find each other: by a rendezvous, a launcher's environment, an all-gather of the caller's, or MPI."""
import operator

from . import _native
from .errors import InvalidArgument


def index(name, value, least, most):
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or not least <= operator.index(value) <= most:
        raise InvalidArgument(f"{name}: {value!r}, must be a whole number from {least} to {most}")
    return operator.index(value)


def text(name, value):
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}: {value!r}, must be text")
    return value


class Rendezvous(_native.Server):
    """Where ranks meet, for ranks that this program starts itself, as threads or processes.

    address: the address to listen on, IPv4 or IPv6
    port: the TCP port to listen on; 0: any free one
    secret: ranks that cannot prove it get no seat; "": whoever reaches the port is trusted

    Ranks that are threads of this process give the object itself as bootstrap; ranks in other processes give
    `rendezvous.where` and the secret. It listens until it is dropped; groups that still use it then end with a Fault.
    """

    def __init__(self, address="127.0.0.1", port=0, secret=""):
        super().__init__(text("address", address), index("port", port, 0, 65535), text("secret", secret))
        self.address, self.secret = address, secret

    @property
    def where(self):
        """The address and the port, such as "127.0.0.1:41234"."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def __repr__(self):
        return f"transload.Rendezvous({self.where})"


def _is_loopback(host):
    return host in ("localhost", "::1") or host.startswith("127.")


def meeting(rank, ranks, bootstrap, secret, name):
    """Returns (Bootstrap, the caller's all-gather or None), from the arguments of a group."""
    here = _native.Bootstrap()
    here.rank, here.ranks, here.name, here.secret = rank, ranks, text("name", name), text("secret", secret)
    if bootstrap is None:
        if ranks != 1:
            raise InvalidArgument(
                f"bootstrap: None, must be a Rendezvous, 'host:port' or an all-gather for {ranks} ranks; under a "
                "launcher use Group.from_environment"
            )
        return here, None
    if isinstance(bootstrap, Rendezvous):
        here.host, here.port, here.secret = bootstrap.address, bootstrap.port, secret or bootstrap.secret
        return here, None
    if callable(bootstrap):
        return here, bootstrap
    host, colon, port = bootstrap.rpartition(":") if isinstance(bootstrap, str) else ("", "", "")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidArgument(f"bootstrap: {bootstrap!r}, must be a Rendezvous, 'host:port' or an all-gather")
    here.host, here.port = host.strip("[]"), int(port)
    return here, None


def _nodes_of_hosts(identities):
    """Returns the sizes of the nodes, from the host_identity() of each rank. Ranks of a host must be consecutive."""
    sizes = [1]
    for rank in range(1, len(identities)):
        if _native.one_machine(identities[rank], identities[rank - 1]):
            sizes[-1] += 1
            continue
        for earlier in range(rank - 1):
            if _native.one_machine(identities[rank], identities[earlier]):
                raise InvalidArgument(
                    f"nodes: rank {rank} is on the host of rank {earlier}, but rank {rank - 1} is not: "
                    "ranks must be numbered host by host"
                )
        sizes.append(1)
    return sizes


def nodes_of(here, all_gather):
    """Returns the sizes of the nodes, if the caller gives none: the ranks of a host are a node."""
    if here.ranks == 1:
        return [1]
    if all_gather:
        identity = _native.host_identity()
        longest = max(int.from_bytes(part, "little") for part in all_gather(len(identity).to_bytes(8, "little")))
        return _nodes_of_hosts([bytes(part).rstrip(b"\0").decode() for part in
                                all_gather(identity.encode().ljust(longest, b"\0"))])
    if _is_loopback(here.host):
        return [here.ranks]  # only ranks on this host reach a loopback address
    if here.local_ranks > 0 and here.ranks % here.local_ranks == 0:
        return [here.local_ranks] * (here.ranks // here.local_ranks)
    raise InvalidArgument("nodes: None, must be how many ranks each node has, such as (8, 8): it cannot be derived")
