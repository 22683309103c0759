"""Shared by the tests of V1's Buffer: a first dispatch with its layout, and refusals."""
import pytest
from deep_ep_ranks import on_ranks
from dense import EXPERTS, everybody

import transload
from transload.deep_ep import Buffer

NAMES = ("num_tokens_per_rank", "num_tokens_per_rdma_rank", "num_tokens_per_expert", "is_token_in_rank")


def layout(buffer, tokens):
    return dict(zip(NAMES, buffer.get_dispatch_layout(tokens.ids, EXPERTS)))


def first(buffer, tokens, x=None, **more):
    arguments = {"topk_idx": tokens.ids, "topk_weights": tokens.weights, **layout(buffer, tokens), **more}
    return buffer.dispatch(tokens.x if x is None else x, **arguments)


def refuses(match, kind=transload.InvalidArgument):
    return pytest.raises(kind, match=match)


def of(*nodes, **how):
    """A decorator: the function runs on every rank with a buffer and all ranks' tokens."""
    def run(work):
        def test():
            tokens = everybody(sum(nodes))
            return on_ranks(nodes, lambda group: work(Buffer(group, **how), group.rank(), tokens))
        test.__name__, test.__doc__ = work.__name__, work.__doc__
        return test
    return run
