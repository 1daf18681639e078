"""Sends notifications to a webhook of the operator: of alerts, and of changes of rollouts.

Owns the HTTP requests and the task that makes them, one at a time; when and whether is decided in `core.mailbox`. Each
request carries a key that is the same for all tries of a notification, and a signature where a secret is configured.
Built by `app`; started and fed by `watch` and by `rollout.wiring`, each with one of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping

import aiohttp

from lanecast._version import __version__
from metrics_svc.core.mailbox import Mailbox
from metrics_svc.core.notices import FAILED, Notice, signature

log = logging.getLogger(__name__)

KEY_HEADER, SIGNATURE_HEADER = "Idempotency-Key", "Lanecast-Signature"
_RETRY_STATUS = frozenset({408, 425, 429})
_MAX_RETRY_AFTER = 300.0


class Webhook:
    """Delivers notifications to one address; without an address it delivers none."""

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        name: str,
        timeout_seconds: float,
        deadline_seconds: float,
        clock_ns: Callable[[], int],
        on_changed: Callable[[Notice], None] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._url = url
        self._secret = secret
        self._name = name
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._clock_ns = clock_ns
        self._on_changed = on_changed
        self._mailbox = Mailbox(deadline_seconds, uniform)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def enabled(self) -> bool:
        """Whether there is an address."""
        return bool(self._url)

    def start(self) -> None:
        """Begin to deliver."""
        if self.enabled:
            self._task = asyncio.create_task(self._run(), name=f"webhook-{self._name}")

    async def close(self) -> None:
        """Stop. Idempotent.

        What still waits is not sent; who kept what `on_changed` told can send it after the next start.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def send(self, notices: Iterable[Notice]) -> None:
        """Deliver notifications as soon as possible; forget them where there is no address."""
        if not self.enabled:
            return
        for given_up in self._mailbox.add(notices, self._clock_ns()):
            self._record(given_up)
        self._wake.set()

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while True:
                notice = self._mailbox.take(self._clock_ns())
                if notice is None:
                    await self._pause()
                else:
                    await self._deliver(session, notice)

    async def _pause(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(self._mailbox.next_seconds(self._clock_ns())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _deliver(self, session: aiohttp.ClientSession, notice: Notice) -> None:
        body = notice.body.encode()
        try:
            async with session.post(
                self._url, data=body, headers=self._headers(notice, body), allow_redirects=False
            ) as response:
                self._answered(notice, response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._failed(notice, f"{type(error).__name__}: {error}".rstrip(": "), retry=True)

    def _answered(self, notice: Notice, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if 200 <= status < 300:
            self._record(self._mailbox.sent(notice.key))
            return
        retry = status >= 500 or status in _RETRY_STATUS
        self._failed(notice, f"it answered {status}", retry=retry, after=_retry_after(response.headers))

    def _failed(self, notice: Notice, detail: str, *, retry: bool, after: float = 0.0) -> None:
        self._record(self._mailbox.failed(notice.key, self._clock_ns(), detail, retry=retry, after_seconds=after))

    def _record(self, notice: Notice | None) -> None:
        if notice is None:
            return
        if notice.outcome == FAILED:
            log.error(
                "the webhook for %s was not told of %s after %d tries: %s",
                self._name, notice.key, notice.attempts, notice.detail,
            )  # fmt: skip
        elif notice.attempts == 1 and notice.detail:
            log.warning(
                "the webhook for %s did not take %s, which is tried again: %s", self._name, notice.key, notice.detail
            )
        if self._on_changed is not None:
            self._on_changed(notice)

    def _headers(self, notice: Notice, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"lanecast/{__version__}",
            KEY_HEADER: notice.key,
        }
        if self._secret:
            headers[SIGNATURE_HEADER] = signature(self._secret, self._clock_ns() // 1_000_000_000, body)
        return headers


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER) if text.isdecimal() else 0.0
