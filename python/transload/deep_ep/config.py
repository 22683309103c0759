"""Config, and how many bytes a buffer takes, for programs that ask before they make one."""
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
    """How a call is to be made. Only num_sms has an effect, on GPUs; there are no chunks here to be tuned."""

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
        """Bytes of the rings of a group of so many ranks on one node, at rows of hidden_bytes."""
        token = extent("hidden_bytes", hidden_bytes, 0) + _HEADER_BYTES
        return _CHANNELS * _SLOTS * 3 * ranks("num_ranks", num_ranks) * token

    def get_rdma_buffer_size_hint(self, hidden_bytes, num_ranks):
        """0: rings for other nodes are counted by the hint above."""
        extent("hidden_bytes", hidden_bytes, 0)
        ranks("num_ranks", num_ranks)
        return 0


def low_latency_size_hint(tokens, hidden, num_ranks, num_experts):
    """Bytes of what a low-latency dispatch fills on a rank, and of the rows that go back: bf16, as many as can come."""
    tokens, hidden = extent("num_max_dispatch_tokens_per_rank", tokens, 1), extent("hidden", hidden, 1)
    num_ranks = ranks("num_ranks", num_ranks)
    local = -(-extent("num_experts", num_experts, 1) // num_ranks)
    return 2 * local * num_ranks * tokens * (2 * hidden + _HEADER_BYTES)
