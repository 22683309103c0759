"""A group of the members of one of torch's process groups, whatever its backend."""
import torch

from ..errors import InvalidArgument
from ..group import Group


def _seat(process_group):
    """(rank, ranks) of this process."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        raise InvalidArgument(
            "process_group: torch.distributed is not initialised, must be: torch.distributed.init_process_group"
        )
    if process_group is None:
        process_group = torch.distributed.group.WORLD
    if process_group is torch.distributed.GroupMember.NON_GROUP_MEMBER:
        raise InvalidArgument("process_group: one without this process, must be one of which it is a member")
    if not isinstance(process_group, torch.distributed.ProcessGroup):
        raise InvalidArgument(f"process_group: {process_group!r}, must be a torch.distributed.ProcessGroup")
    return torch.distributed.get_rank(process_group), torch.distributed.get_world_size(process_group)


def group(process_group=None, **options):
    """A `transload.Group` of these processes. Collective over them.

    process_group: any backend's, gloo's and NCCL's too; of it only `all_gather_object` is used, and only here.
    None: all of torch's processes
    options: those of `transload.Group`, but for rank, ranks and bootstrap, which are the process group's
    """
    rank, ranks = _seat(process_group)
    for name, mine in (("rank", rank), ("ranks", ranks)):
        if (given := options.pop(name, mine)) != mine:
            raise InvalidArgument(f"{name}: {given!r}, must be {mine}, the process group's")
    if "bootstrap" in options:
        raise InvalidArgument("bootstrap: given, must not be: ranks meet by the process group")

    def all_gather(mine):
        parts = [None] * ranks
        torch.distributed.all_gather_object(parts, mine, group=process_group)
        return parts

    return Group.from_all_gather(all_gather, rank, ranks, **options)
