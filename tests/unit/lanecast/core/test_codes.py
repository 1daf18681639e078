"""The registry of close and error codes."""

from __future__ import annotations

import pytest

from lanecast.core import codes
from lanecast.core.codes import REGISTRY, Code, is_retryable


def test_every_code_is_registered_under_its_own_number_and_name() -> None:
    defined = [value for value in vars(codes).values() if isinstance(value, Code)]
    assert len(REGISTRY) == len(defined)
    for code in defined:
        assert REGISTRY[code.number] is code
        assert getattr(codes, code.reason) is code
        assert code.advice.endswith(".")


def test_own_codes_lie_in_the_ranges_that_carry_the_rule() -> None:
    for number, code in REGISTRY.items():
        if number >= 3000:
            assert 3000 <= number < 5000
            assert code.retryable is (number % 1000 < 500)


@pytest.mark.parametrize("number", [1000, 1001, 1005, 1006, 1011, 1012, 1013, 3000, 3499, 4000, 4499])
def test_a_client_comes_back_after_these(number: int) -> None:
    assert is_retryable(number)


@pytest.mark.parametrize("number", [1002, 1003, 1007, 1008, 1009, 1010, 3500, 3999, 4500, 4999])
def test_a_client_stays_away_after_these(number: int) -> None:
    assert not is_retryable(number)
