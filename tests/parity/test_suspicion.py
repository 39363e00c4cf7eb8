"""What a healthy layer keeps, by the precision of its file."""

from __future__ import annotations

import typing

import pytest

from converter.parity.suspicion import bound_of
from converter.records import Precision


@pytest.mark.parametrize("precision", typing.get_args(Precision))
def test_every_precision_has_a_bound(precision: Precision) -> None:
    """A row without tolerances can be explained too, whatever its precision."""
    bound_db, why = bound_of((), precision)

    assert bound_db > 0
    assert precision in why
