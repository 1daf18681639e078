"""Tells a web address about each change of a rollout.

Owns one bounded queue and the attempts to deliver from it, in order. What does not arrive in five attempts is dropped
with a line in the log: the history has it. Built by `wiring`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any

import aiohttp

from lanecast.core.backoff import Backoff, BackoffPolicy

log = logging.getLogger(__name__)

MAX_WAITING = 256
_ATTEMPTS = 5
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_DELAYS = BackoffPolicy(0.2, 5.0)


class Webhook:
    """Posts JSON documents to one address; to none where it is empty."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        if self._url:
            self._task = asyncio.create_task(self._run(), name="rollout-webhook")

    def send(self, document: dict[str, Any]) -> None:
        """Queue a document; where too many wait the oldest is dropped."""
        if self._url:
            self._waiting.append(document)
            self._wake.set()

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._deliver(session, self._waiting.popleft())

    async def _deliver(self, session: aiohttp.ClientSession, document: dict[str, Any]) -> None:
        backoff, problem = Backoff(_DELAYS), ""
        for _ in range(_ATTEMPTS):
            try:
                async with session.post(self._url, json=document) as answer:
                    if answer.status < 400:
                        return
                    problem = f"status {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = str(error) or type(error).__name__
            await asyncio.sleep(backoff.next_delay())
        log.warning("the webhook for rollouts did not take a change: %s", problem)
