"""One HTTP request, as a scraper makes it. No test here."""

from __future__ import annotations

import trio
import trio.testing


async def ask(port: int, request: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        answer = b""
        async for data in stream:
            answer += data
        return answer
