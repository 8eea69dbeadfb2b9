"""Fixtures that several test files share."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """Keep small products on one core: on a busy machine, waiting for others takes most time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
