"""The backward of each call, in calls: of a dispatch one combine, of a combine one or two cached dispatches.

All ranks must make the same calls, so these never depend on which gradients came on this rank. A gradient that did not
come is 0, and one that nobody asked for on this rank is computed where other ranks may ask for it.
"""
import torch

_LEAST_COLUMNS = 8  # of bf16: a row is of 16 bytes or more
_WEIGHTS_UNIT = 4  # of float32: rows are multiples of 16 bytes


def fit(tensor):
    """Returns the tensor as calls take it: contiguous and aligned to 16 bytes, which gradients need not be."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % 16 else tensor


def shaped(grads, shapes):
    """Returns each gradient in the shape of its tensor, because calls return matrices."""
    return [grad if grad is None else grad.reshape(shape) for grad, shape in zip(grads, shapes)]


def of_dispatch(combine, needs, topk_idx, columns, grad_rows, grad_weights):
    """Returns the gradients of (x, topk_weights), from those of the rows [M, columns] and of their weights [M, K].

    combine: a function of rows and weights that returns their sums
    needs: whether x and whether topk_weights require grad
    """
    rows = topk_idx.shape[0]
    if grad_rows is None:
        shape = rows, columns if needs[0] else _LEAST_COLUMNS
        grad_rows = topk_idx.new_zeros(shape, dtype=torch.bfloat16)
    if not needs[1]:
        return combine(grad_rows, None)[0], None
    # The dispatch gave 0 as the weight of another rank's choice, whatever it was: such a weight has no gradient here.
    if grad_weights is None:
        grad_weights = topk_idx.new_zeros(topk_idx.shape, dtype=torch.float32)
    else:
        grad_weights = grad_weights.masked_fill(topk_idx < 0, 0)
    grad_x, grad_weights = combine(grad_rows, grad_weights)
    return grad_x if needs[0] else None, grad_weights


def of_combine(redispatch, needs, like, grad, grad_weights):
    """Returns the gradients of (x, topk_weights, bias, second bias), from those of the sums.

    redispatch: a function that sends a tensor by tokens to the ranks of their experts and returns it by rows
    needs: which of these four require grad, and whether the anchor does
    like: (shape of the sums, shape of the sums of weights or None, device)
    """
    shape, shape_of_weights, device = like
    grad_x = grad_rows_weights = None
    if grad is None:
        grad = torch.zeros(shape, dtype=torch.bfloat16, device=device)
    if needs[0] or needs[4]:
        grad_x = redispatch(grad)
    if shape_of_weights is not None and (needs[1] or needs[4]):
        if grad_weights is None:
            grad_weights = torch.zeros(shape_of_weights, dtype=torch.float32, device=device)
        choices = shape_of_weights[-1]
        padded = torch.nn.functional.pad(grad_weights, (0, -choices % _WEIGHTS_UNIT))
        grad_rows_weights = redispatch(padded)[:, :choices]
    return (grad_x if needs[0] else None, grad_rows_weights if needs[1] else None, grad if needs[2] else None,
            grad if needs[3] else None)
