"""Networks: how large they are."""

from torch.nn import Module


def count_parameters(module: Module) -> int:
    """Return the number of trained numbers of a network."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
