"""Pages: health, in one line; what else HTTP brings is tested by the metrics page, tests/test_metrics.py."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from triolight.pages import serve_health


@pytest.mark.parametrize(
    ("words", "status", "body"),
    [(None, b"200", b"ok\n"), ("there is no back,\nnone at all", b"503", b"there is no back,\\nnone at all\n")],
)
async def test_health_is_a_status_and_a_line(words: str | None, status: bytes, body: bytes) -> None:
    for request, wanted in ((b"GET", body), (b"HEAD", b"")):
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(request + b" /anything?x HTTP/1.1\r\nHost: x\r\n\r\n")
        await ours.send_eof()
        await serve_health(lambda: words)(theirs)
        head, _, found = b"".join([part async for part in ours]).partition(b"\r\n\r\n")
        assert (head.split()[1], found) == (status, wanted)
