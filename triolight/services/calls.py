"""HTTP with one server: so many calls at once, bounded answers, and a pause while it has no room. Judges no answer.

Needs the extra `utxo`: the HTTP is httpx's, which nobody else imports. Who calls sets the deadline, and a call that
would have to wait beyond it fails at once. User and password are in no URL, error, log or `repr`.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from triolight.services.backends import Answer, Busy, Unanswered
from triolight.text import printable, system_words, without_mark

__all__ = ["Credentials", "HttpCalls", "open_calls"]

try:
    import httpx
except ImportError as error:
    raise ImportError("UTXO lookups need the extra 'utxo': pip install 'triolight[utxo]'") from error

AT_ONCE: Final = 8
"""Calls that are open: bitcoind has 16 places for all who call."""
MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of an answer: the ids of a block's transactions are 1 MB."""
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 60.0
"""Seconds without a call after the server had no room or was not there: each time twice as many."""
LONGEST_WISH: Final = 600.0
"""Of those that the server asks for."""
REFUSED_SECONDS: Final = 30.0
"""Until a password that was refused is tried again, or a certificate that we refuse looked at again."""
MAX_CREDENTIALS: Final = 4096
"""Bytes of their file."""
_NO_ROOM: Final = (429, 502, 503, 504)


class Credentials:
    """User and password, or the file that has them: a cookie of bitcoind's is another one after each start."""

    __slots__ = ("_file", "_known")

    def __init__(self, known: bytes | None = None, file: Path | None = None) -> None:
        self._known = known
        self._file: Final = file

    def __repr__(self) -> str:
        return "<Credentials>"

    async def read(self) -> bool:
        """Reads the file again. False if there is none, or it says the same. ValueError if it has no such line."""
        if self._file is None:
            return False
        async with await trio.open_file(self._file, "rb") as file:
            content = without_mark(await file.read(MAX_CREDENTIALS)).strip()
        if b":" not in content or b"\n" in content:
            raise ValueError(f"{self._file}: not one line user:password")
        changed = content != self._known
        self._known = content
        return changed

    def headers(self) -> dict[str, str]:
        """What a request carries of them."""
        if self._known is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(self._known).decode()}"}


class HttpCalls:
    """Calls to one server, until it is closed."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        context: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.calls = 0
        """Requests that were sent."""
        self._url: Final = url
        self._credentials: Final = credentials
        self._places: Final = trio.Semaphore(AT_ONCE)
        self._pause = FIRST_PAUSE
        self._paused_until = 0.0
        self._why = ""
        # Nothing of the environment: no proxy between us and a node of our own, no password of a file that we were not
        # told of.
        self._client: Final = httpx.AsyncClient(
            verify=context,
            timeout=None,
            trust_env=False,
            transport=transport,
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
            # What is packed can become any number of bytes.
            headers={"Accept-Encoding": "identity", "User-Agent": "triolight"},
        )

    def __repr__(self) -> str:
        return f"<HttpCalls {self._url}>"

    async def get(self, path: str) -> Answer:
        return await self._call("GET", path, None)

    async def post(self, body: bytes) -> Answer:
        return await self._call("POST", "", body)

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._client.aclose()

    async def _call(self, method: str, path: str, body: bytes | None) -> Answer:
        async with self._places:
            while True:
                await self._wait()
                try:
                    answer = await self._once(method, path, body)
                except Busy as busy:
                    self._back_off(busy)
                    continue
                self._pause, self._why = FIRST_PAUSE, ""
                return answer

    async def _wait(self) -> None:
        """While the server is left alone. Busy if that is longer than who calls can wait."""
        while (left := self._paused_until - trio.current_time()) > 0:
            if self._paused_until >= trio.current_effective_deadline():
                raise Busy(self._why, left)
            await trio.sleep(left)

    def _back_off(self, busy: Busy) -> None:
        now = trio.current_time()
        self._why = str(busy)
        if busy.after is not None:
            self._paused_until = max(self._paused_until, now + min(busy.after, LONGEST_WISH))
        elif now >= self._paused_until:  # the others of those that were open say nothing new
            self._paused_until = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _once(self, method: str, path: str, body: bytes | None) -> Answer:
        answer, after = await self._request(method, path, body)
        if answer.status == 401 and await self._has_other_credentials():
            answer, after = await self._request(method, path, body)
        if answer.status in (401, 403):
            raise Busy(f"it refuses our user and password (HTTP {answer.status})", REFUSED_SECONDS)
        if answer.status in _NO_ROOM:
            words = printable(answer.body.strip(), 100)
            raise Busy(f"HTTP {answer.status}" + (f": {words}" if words else ""), after)
        if 300 <= answer.status < 400:
            raise Unanswered(f"it leads elsewhere (HTTP {answer.status}), where nobody follows")
        return answer

    async def _has_other_credentials(self) -> bool:
        try:
            return await self._credentials.read()
        except (OSError, ValueError):
            return False

    async def _request(self, method: str, path: str, body: bytes | None) -> tuple[Answer, float | None]:
        headers = self._credentials.headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.calls += 1
        content = bytearray()
        try:
            async with self._client.stream(
                method, self._url + path, content=body, headers=headers, extensions={"trace": _closer()}
            ) as response:
                # Cancelled, and not left: httpx's generators end only so.
                with trio.CancelScope() as reading:
                    async for chunk in response.aiter_raw():
                        content += chunk
                        if len(content) > MAX_BODY:
                            reading.cancel()
        except httpx.HTTPError as error:
            raise _busy(error) from None
        if len(content) > MAX_BODY:
            raise Unanswered(f"its answer is longer than {MAX_BODY:,} bytes")
        wish = response.headers.get("Retry-After", "")
        after = float(wish) if wish.isascii() and wish.isdigit() and len(wish) < 10 else None
        return Answer(response.status_code, bytes(content)), after


def _closer() -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """Hears what a request does, and closes what httpx leaves open: a socket whose TLS is cancelled as it begins."""
    opened: list[Any] = []

    async def hear(event: str, what: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(what["return_value"])
        elif event == "connection.start_tls.failed":
            with trio.CancelScope(shield=True):
                for one in opened:
                    await one.aclose()

    return hear


def _busy(error: BaseException) -> Busy:
    """In the system's words, if there are any behind the library's."""
    found: OSError | None = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            found = cause
        cause = cause.__cause__ or cause.__context__
    words = printable(system_words(found) if found is not None else str(error) or type(error).__name__)
    # A certificate that is not believed is not another one a second later.
    return Busy(words, REFUSED_SECONDS if isinstance(found, ssl.SSLCertVerificationError) else None)


@asynccontextmanager
async def open_calls(url: str, credentials: Credentials, context: ssl.SSLContext | bool) -> AsyncGenerator[HttpCalls]:
    """Calls to the server at this URL, which ends without a slash, until the block is left."""
    calls = HttpCalls(url, credentials, context)
    try:
        yield calls
    finally:
        with trio.CancelScope(shield=True):
            await calls.close()
