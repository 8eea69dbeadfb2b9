"""Named random streams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmlbook.base.rng import stream


@given(st.integers(0, 2**32), st.text(min_size=1))
def test_a_stream_is_a_function_of_seed_and_name(seed, name):
    assert stream(seed, name).random() == stream(seed, name).random()


def test_streams_of_other_names_or_seeds_are_unrelated():
    names = ("a",), ("b",), ("a", "b"), ("validation images",), ("validation labels",)
    draws = [stream(s, *n).random(2000) for s in (0, 1) for n in names]
    assert np.abs(np.corrcoef(draws) - np.eye(len(draws))).max() < 0.1


def test_the_first_numbers_never_change():
    # Stored records rest on these streams: a change of the derivation must be a decision.
    assert stream(7, "batches").integers(1000, size=4).tolist() == EXPECTED


EXPECTED = [389, 137, 704, 467]


@pytest.mark.parametrize(("seed", "names"), [(-1, ("a",)), (0, ())])
def test_bad_requests_are_refused(seed, names):
    with pytest.raises(ValueError, match=r"root|names"):
        stream(seed, *names)
