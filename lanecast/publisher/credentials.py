"""The token that a publisher presents.

Owns where it comes from and what it must look like. Used by the link, which asks for it on each connection; the token
is never logged nor part of a `repr`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lanecast.errors import ConfigError, LanecastError, StatusError, TokenError, UnavailableError
from lanecast.runtime import status

TokenSource = str | Callable[[], str]
"""A token, or a function that returns one which is valid now."""


class Credentials:
    """A fixed token, a function that returns tokens, or nothing."""

    def __init__(self, token: TokenSource | None) -> None:
        if token is not None and not isinstance(token, str) and not callable(token):
            raise ConfigError("token must be a string, or a function that returns one")
        self._token = _checked(token) if isinstance(token, str) else ""
        self._fetch = token if callable(token) else None

    async def token(self, timeout_seconds: float) -> str:
        """Return the token for a new connection; empty where there is none.

        A function is called in a thread, for it may have to ask somebody else.

        Raises:
            UnavailableError: the function did not return in time.
            TokenError: it failed, or what it returned is no token.
        """
        if self._fetch is None:
            return self._token
        try:
            async with asyncio.timeout(timeout_seconds):
                fetched = await asyncio.to_thread(self._fetch)
        except TimeoutError as error:
            raise UnavailableError(f"the function for the token took longer than {timeout_seconds:g} s") from error
        except LanecastError:
            raise
        except Exception as error:
            message = f"the function for the token failed with {type(error).__name__}: {error}"
            raise TokenError("TOKEN_NOT_FETCHED", message) from error
        if not isinstance(fetched, str) or not fetched:
            raise TokenError("TOKEN_NOT_FETCHED", "the function for the token returned none: it must return a string")
        return _checked(fetched)

    def can_renew(self, error: LanecastError) -> bool:
        """Say whether a new connection with a new token may cure `error`."""
        return self._fetch is not None and isinstance(error, StatusError) and error.reason == "TOKEN_EXPIRED"

    def refusal(self, error: LanecastError) -> StatusError | None:
        """Return `error` where it says that the service will not let this publisher in however often it tries."""
        if isinstance(error, StatusError) and error.code == status.UNAUTHENTICATED and not self.can_renew(error):
            return error
        return None


def _checked(token: str) -> str:
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise TokenError("TOKEN_MALFORMED", "the token has characters that no token has: give it as it was issued")
    return token
