"""The audience: which channels it listens to."""

from __future__ import annotations

from types import ModuleType

import pytest


def test_channels_by_name_and_by_number(main_module: ModuleType) -> None:
    found = main_module.channels_of(["agent:42", "agent:41-43", "bots:handoffs"])
    assert found == ["agent:42", "agent:41", "agent:43", "bots:handoffs"]


@pytest.mark.parametrize("text", ["agent:9-8", "agent:1-10001"])
def test_a_range_without_channels_or_with_too_many_is_refused(text: str, main_module: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"write the smaller number first"):
        main_module.channels_of([text])
