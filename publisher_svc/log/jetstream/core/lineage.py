"""Epochs of the stream, as they stand in its metadata.

Owns their form and when a new one begins. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from lanecast.core.position import EpochStart, Lineage
from publisher_svc.log.jetstream.core.layout import FORMAT, first_offset_of

FORMAT_KEY = "lanecast.format"
PARTITIONS_KEY = "lanecast.partitions"
LINEAGE_KEY = "lanecast.lineage"
_MAX_EPOCHS = 50


def metadata_of(partitions: int, lineage: Lineage) -> dict[str, str]:
    """Return what the stream's metadata says of the log."""
    starts = lineage.starts[-_MAX_EPOCHS:]
    return {
        FORMAT_KEY: FORMAT,
        PARTITIONS_KEY: str(partitions),
        LINEAGE_KEY: ",".join(f"{start.epoch}:{start.first_offset}" for start in starts),
    }


def parse_metadata(metadata: Mapping[str, str]) -> tuple[int, Lineage]:
    """Return the number of partitions and the lineage.

    Raises:
        ValueError: the stream is none of Lanecast's, or of another format; says what to do.
    """
    found = metadata.get(FORMAT_KEY)
    if found is None:
        raise ValueError("it was not made by Lanecast: choose another log_stream")
    if found != FORMAT:
        raise ValueError(f"its format is {found}, and this version writes {FORMAT}: use the version that made it")
    try:
        partitions = int(metadata[PARTITIONS_KEY])
        pairs = [link.rpartition(":") for link in metadata[LINEAGE_KEY].split(",")]
        lineage = Lineage([EpochStart(epoch, int(first)) for epoch, _, first in pairs])
    except (KeyError, ValueError) as error:
        raise ValueError("its metadata is damaged: restore it, or choose another log_stream") from error
    return partitions, lineage


def begun_anew(lineage: Lineage, epoch: str, last_sequence: int) -> Lineage:
    """Return the lineage of a stream that has gone back to `last_sequence`: what was above was undone."""
    first = first_offset_of(last_sequence + 1)
    return Lineage([*(start for start in lineage.starts if start.first_offset < first), EpochStart(epoch, first)])
