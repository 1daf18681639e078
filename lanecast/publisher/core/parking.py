"""Chains that wait because the service refused an event of theirs for the moment.

Owns when a parked chain goes on: once everything of it on the wire is answered and the delay is over, from the refused
event on. Used by `lanecast.publisher.core.outbox`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from lanecast.publisher.core.entry import Chain, Entry


class Parking:
    """The parked chains of one publisher."""

    def __init__(self) -> None:
        self._chains: list[Chain] = []

    def __bool__(self) -> bool:
        return bool(self._chains)

    def park(self, entry: Entry, now: float, delay_seconds: float) -> None:
        """Put an event, and with it its chain, aside for so long; call `look_at_wire` before the next `release`."""
        chain = entry.chain
        if chain.parked is None:
            chain.parked = []
            chain.release_at = now
            self._chains.append(chain)
        chain.parked.append(entry)
        chain.release_at = max(chain.release_at, now + delay_seconds)

    def look_at_wire(self, in_flight: Iterable[Entry]) -> None:
        """Find out of which parked chains something is on the wire.

        Looked for only while something is parked, which is rare, rather than counted for each event.
        """
        for chain in self._chains:
            chain.on_wire = False
        for entry in in_flight:
            entry.chain.on_wire = True

    def release(self, now: float) -> None:
        """Queue again what may go on."""
        ready = [chain for chain in self._chains if not chain.on_wire and chain.release_at <= now]
        if not ready:
            return
        self._chains = [chain for chain in self._chains if chain not in ready]
        for chain in ready:
            assert chain.parked is not None
            entries = sorted((entry for entry in chain.parked if not entry.done), key=by_order)
            chain.parked = None
            chain.queue.entries.extendleft(reversed(entries))

    def times(self) -> list[float]:
        """Return when chains that wait for nothing else go on."""
        return [chain.release_at for chain in self._chains if not chain.on_wire]


def by_order(entry: Entry) -> int:
    """Return what events are sorted by: the order in which they were handed over."""
    return entry.order
