"""Small pages over HTTP, for programs: one request a connection, GET and HEAD alone, bounded in time and number.

The HTTP is h11's (extras `metrics` and `cluster`). Who may see a page is the caller's to decide: it gives the listener.
To tell a balancer whether to send peers here::

    listeners = await trio.open_tcp_listeners(9101, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve_health(lambda: watch.trouble), listeners)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from triolight.text import printable

__all__ = ["serve_health"]

try:
    import h11
except ImportError as error:
    raise ImportError("a page needs h11: pip install 'triolight[metrics]', or 'triolight[cluster]'") from error

CLIENT_SECONDS: Final = 10.0
"""For a client to say what it wants and to take the answer."""
MAX_CLIENTS: Final = 16
"""Connections of one page at a time: a scraper needs one."""
_READ_BYTES: Final = 4096

Page: TypeAlias = Callable[[bytes], Awaitable[tuple[int, str, bytes]]]
"""A path to a status, a content type and a body."""
Handler: TypeAlias = Callable[[trio.abc.Stream], Awaitable[None]]


def serve_page(page: Page) -> Handler:
    """A handler for `trio.serve_listeners`. It has MAX_CLIENTS at a time: one more is closed at once."""
    clients = 0

    async def answer(stream: trio.abc.Stream) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients <= MAX_CLIENTS:
                with trio.move_on_after(CLIENT_SECONDS):
                    await _answer(stream, page)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass  # it has gone without its answer, or has asked for what cannot be answered; the next one is served
        finally:
            clients -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    return answer


async def _answer(stream: trio.abc.Stream, page: Page) -> None:
    http = h11.Connection(h11.SERVER)
    status, kind, body, with_body = 400, "text/plain", b"not understood\n", True
    try:
        request = http.next_event()
        while request is h11.NEED_DATA:
            data = await stream.receive_some(_READ_BYTES)
            http.receive_data(bytes(data))
            request = http.next_event()
        if isinstance(request, h11.Request):
            with_body = request.method != b"HEAD"
            if request.method not in (b"GET", b"HEAD"):
                status, body = 405, b"only GET and HEAD\n"
            else:
                status, kind, body = await page(request.target.partition(b"?")[0])
        elif isinstance(request, h11.ConnectionClosed):
            return
    except h11.RemoteProtocolError:
        pass  # is what `status` says already
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    parts: list[h11.Event] = [h11.Response(status_code=status, headers=headers)]
    if with_body:
        parts.append(h11.Data(data=body))
    await stream.send_all(b"".join(http.send(part) or b"" for part in (*parts, h11.EndOfMessage())))
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
        while await stream.receive_some(_READ_BYTES):
            pass  # a close with unread input would be a reset, and eat the answer


def serve_health(trouble: Callable[[], str | None]) -> Handler:
    """A handler for `trio.serve_listeners` that tells a balancer whether to send somebody here, at whatever path: 200
    while `trouble` gives None, else 503 and what it gives, in one line."""

    async def page(path: bytes) -> tuple[int, str, bytes]:
        await trio.lowlevel.checkpoint()
        words = trouble()
        return (200, "text/plain", b"ok\n") if words is None else (503, "text/plain", f"{printable(words)}\n".encode())

    return serve_page(page)
