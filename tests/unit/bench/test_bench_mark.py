"""bench.mark: what is put into a payload is found again."""

from __future__ import annotations

import json

from bench import mark

START = 1_790_000_000_000_000_000


def test_marks_are_found_between_anything_and_decoded_in_order() -> None:
    first = mark.encode(START, START + 1_500_000, channel=7, sequence=41, lane=3, load=1)
    second = mark.encode(START + 5, START + 5, channel=999, sequence=2**31, lane=1, load=0)

    found = mark.decode(mark.find(b"\x12\x07bench7" + first + b" words" + b"\x82\x7e\x01\x00" + second))

    assert list(found["scheduled"]) == [START, START + 5]
    assert list(found["channel"]) == [7, 999]
    assert list(found["sequence"]) == [41, 2**31]
    assert list(found["late"]) == [1500, 0]
    assert list(found["lane"]) == [3, 1]
    assert list(found["load"]) == [1, 0]


def test_a_mark_passes_json_unchanged() -> None:
    payload = mark.encode(START, START, 1, 2, 3, 0).decode()
    assert json.dumps(payload) == f'"{payload}"'
    assert len(payload) == mark.MARK_BYTES


def test_lateness_is_cut_to_its_range() -> None:
    early, late = (mark.encode(START, START + delta, 0, 0, 1, 0) for delta in (-5_000, 2**62))
    assert list(mark.decode(mark.find(early + late))["late"]) == [0, 2**32 - 1]


def test_payloads_have_the_wanted_size() -> None:
    label = mark.encode(START, START, 0, 0, 1, 0)
    filler = mark.Filler(512)
    assert [len(filler.payload(label, size)) for size in (mark.MARK_BYTES, 256, 512)] == [mark.MARK_BYTES, 256, 512]
    assert len(filler.payload(label, 10)) == mark.MARK_BYTES
