"""torch: trains a Mixture-of-Experts layer whose experts are spread over the ranks, and checks its first gradients.

python -m torch.distributed.run --nproc-per-node 4 examples/06_torch_moe/main.py --device cpu
"""
import argparse
import os
import sys

try:
    import torch
    import torch.distributed as dist

    import transload.torch as tl
except ImportError as error:
    sys.exit(f"{error}: pip install . torch brings it")

EXPERTS, HIDDEN, INNER, TOP_K, TOKENS = 8, 64, 128, 2, 48


class Experts(torch.nn.Module):
    """A layer whose experts are spread over the ranks; this rank has those that the group gives it."""

    def __init__(self, group, hidden, inner, top_k):
        super().__init__()
        self.group, self.top_k = group, top_k
        mine, init = len(group.local_experts()), lambda *s: torch.nn.Parameter(torch.randn(*s) * 0.2)
        self.gate = init(group.experts, hidden)
        self.up, self.down = init(mine, inner, hidden), init(mine, hidden, inner)

    def forward(self, x):  # [T, hidden] bf16
        weights, ids = torch.topk(torch.softmax(x.float() @ self.gate.T, -1), self.top_k)
        got = tl.dispatch(self.group, x, ids, weights)  # rows that chose an expert of mine, and their local ids
        y = torch.zeros(got.x.shape, dtype=torch.float32, device=x.device)
        for e in range(len(self.up)):
            row, k = (got.topk_idx == e).nonzero(as_tuple=True)
            h = torch.relu(got.x[row].float() @ self.up[e].T) @ self.down[e].T
            y = y.index_add(0, row, h * got.topk_weights[row, k, None])
        return tl.combine(self.group, y.to(x.dtype), got.handle)  # summed at the token's rank


def dense(layer, x, up, down):
    """Computes the layer with all experts on this rank."""
    weights, ids = torch.topk(torch.softmax(x.float() @ layer.gate.T, -1), layer.top_k)
    y = torch.zeros(x.shape)
    for e in range(len(up)):
        row, k = (ids == e).nonzero(as_tuple=True)
        y = y.index_add(0, row, torch.relu(x[row].float() @ up[e].T) @ down[e].T * weights[row, k, None])
    return y


def worst_gradient(layer, x, target):
    """Returns the largest error against a dense layer, relative to the largest gradient; bf16 rows cause a little."""
    group = layer.group
    parts = [None] * group.ranks
    dist.all_gather_object(parts, (layer.up.detach(), layer.down.detach()))
    up, down = (torch.cat(each).requires_grad_() for each in zip(*parts))
    expected = torch.autograd.grad((dense(layer, x, up, down) - target).square().sum(), (x, layer.gate, up, down))
    for of_experts in expected[2:]:
        dist.all_reduce(of_experts)  # tokens of all ranks count
    mine = group.local_experts()
    seen = torch.autograd.grad((layer(x).float() - target).square().sum(), (x, layer.gate, layer.up, layer.down))
    expected = *expected[:2], expected[2][mine], expected[3][mine]
    return max(((a.float() - b.float()).abs().max() / b.float().abs().max()).item() for a, b in zip(seen, expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="the device of the ranks (default: cpu)")
    options = parser.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    group = tl.group(dist.group.WORLD, experts=EXPERTS, hidden=HIDDEN, tokens_max=TOKENS, device=options.device)
    torch.manual_seed(1)
    gate = torch.randn(EXPERTS, HIDDEN) * 0.2  # the same everywhere
    torch.manual_seed(2 + group.rank)
    layer = Experts(group, HIDDEN, INNER, TOP_K)
    layer.gate.data.copy_(gate)
    x = torch.randn(TOKENS, HIDDEN).bfloat16().requires_grad_()
    target = x.detach().float().roll(1, dims=1)
    worst = torch.tensor(worst_gradient(layer, x, target))
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    optimizer, losses = torch.optim.Adam(layer.parameters(), lr=0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (layer(x.detach()).float() - target).square().mean()
        loss.backward()
        dist.all_reduce(layer.gate.grad)  # each rank has seen its own tokens
        optimizer.step()
        losses.append(loss.detach())
    losses = torch.stack(losses)
    dist.all_reduce(losses)
    losses /= group.ranks
    good = worst < 0.02 and losses[-1] < 0.8 * losses[0]
    if group.rank == 0:
        print(f"{group.ranks} ranks, {EXPERTS} experts: gradients within {100 * worst:.2f} % of a dense layer's")
        print("loss " + " ".join(f"{loss:.3f}" for loss in losses[::4]))
        print("verified" if good else "WRONG")
    group.close()
    dist.destroy_process_group()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
