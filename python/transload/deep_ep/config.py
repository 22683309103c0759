"""Config, and functions that say how many bytes a buffer takes, for programs that ask before they make one."""
from .. import _native
from .notices import ignored
from .tensors import extent

_CHANNELS, _SLOTS = 4, 16  # a group's, on the CPU
_HEADER_BYTES = 256  # of a token: source, owners and choices
_CHUNKS = (
    ("num_max_nvl_chunked_send_tokens", 6),
    ("num_max_nvl_chunked_recv_tokens", 256),
    ("num_max_rdma_chunked_send_tokens", 6),
    ("num_max_rdma_chunked_recv_tokens", 256),
)


def ranks(name, value):
    return extent(name, value, 1, _native.limits().ranks_max)


class Config:
    """DeepEP's tuning of a call. Only num_sms will have an effect, on GPUs; the other numbers have none."""

    def __init__(
        self,
        num_sms=20,
        num_max_nvl_chunked_send_tokens=6,
        num_max_nvl_chunked_recv_tokens=256,
        num_max_rdma_chunked_send_tokens=6,
        num_max_rdma_chunked_recv_tokens=256,
    ):
        given = locals()
        self.num_sms = extent("num_sms", num_sms, 1)
        for name, default in _CHUNKS:
            setattr(self, name, extent(name, given[name], 0))
            ignored("Config", name, given[name], default, "the executor chooses how many tokens go at once")

    def get_nvl_buffer_size_hint(self, hidden_bytes, num_ranks):
        """Returns how many bytes the rings of num_ranks ranks of one node take, for rows of hidden_bytes bytes."""
        token = extent("hidden_bytes", hidden_bytes, 0) + _HEADER_BYTES
        return _CHANNELS * _SLOTS * 3 * ranks("num_ranks", num_ranks) * token

    def get_rdma_buffer_size_hint(self, hidden_bytes, num_ranks):
        """Returns 0: get_nvl_buffer_size_hint counts the rings to other nodes too."""
        extent("hidden_bytes", hidden_bytes, 0)
        ranks("num_ranks", num_ranks)
        return 0


def low_latency_size_hint(tokens, hidden, num_ranks, num_experts):
    """Returns how many bytes a rank's low-latency dispatch and combine take, with as many bf16 rows as can come."""
    tokens, hidden = extent("num_max_dispatch_tokens_per_rank", tokens, 1), extent("hidden", hidden, 1)
    num_ranks = ranks("num_ranks", num_ranks)
    local = -(-extent("num_experts", num_experts, 1) // num_ranks)
    return 2 * local * num_ranks * tokens * (2 * hidden + _HEADER_BYTES)
