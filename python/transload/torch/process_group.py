"""A group of the members of one of torch's process groups, whatever its backend."""
import torch

from ..errors import InvalidArgument
from ..group import Group


def _seat(process_group):
    """Returns (rank of this process, number of ranks) in a process group."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        raise InvalidArgument(
            "process_group: torch.distributed is not initialised, must be, by torch.distributed.init_process_group"
        )
    if process_group is None:
        process_group = torch.distributed.group.WORLD
    if process_group is torch.distributed.GroupMember.NON_GROUP_MEMBER:
        raise InvalidArgument("process_group: one without this process, must be one of which this process is a member")
    if not isinstance(process_group, torch.distributed.ProcessGroup):
        raise InvalidArgument(f"process_group: {process_group!r}, must be a torch.distributed.ProcessGroup")
    return torch.distributed.get_rank(process_group), torch.distributed.get_world_size(process_group)


def group(process_group=None, **options):
    """Makes a `transload.Group` of the members of a process group, which all of them call.

    process_group: a torch.distributed.ProcessGroup of any backend; None: that of all processes. Only its
        `all_gather_object` is used, and only while the group is made
    options: as of `transload.Group`, except rank, ranks and bootstrap, which the process group gives
    """
    rank, ranks = _seat(process_group)
    for name, mine in (("rank", rank), ("ranks", ranks)):
        if (given := options.pop(name, mine)) != mine:
            raise InvalidArgument(f"{name}: {given!r}, must be {mine}, the process group's")
    if "bootstrap" in options:
        raise InvalidArgument("bootstrap: given, must be left out: ranks meet by the process group")

    def all_gather(mine):
        parts = [None] * ranks
        torch.distributed.all_gather_object(parts, mine, group=process_group)
        return parts

    return Group.from_all_gather(all_gather, rank, ranks, **options)
