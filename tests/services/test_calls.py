"""HTTP with a chain's server: what is bounded, when it is left alone, and that no password is seen."""

from __future__ import annotations

import base64
import datetime
import gc
import ipaddress
import logging
import ssl
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.chains import Asked, Reply, serving
from triolight.services.backends import Answer, Busy, Unanswered
from triolight.services.calls import AT_ONCE, MAX_BODY, Credentials, HttpCalls, open_calls

SECRET = b"us\xc3\xa9r:p/ss:w@rd%"
NONE = Credentials()


def fine(asked: Asked) -> Reply:
    return Reply(200, b"fine")


def mocked(
    answer: Callable[[httpx.Request], Coroutine[None, None, httpx.Response]], credentials: Credentials = NONE
) -> HttpCalls:
    """Without a socket, for tests in which time goes by."""
    return HttpCalls("http://127.0.0.1:1", credentials, transport=httpx.MockTransport(answer))


def reply(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=names, stream=httpx.ByteStream(body))


class Script:
    """Answers one after the other, the last one for good, and when each was asked for."""

    def __init__(self, *answers: Callable[[], httpx.Response] | Exception) -> None:
        self.answers = [*answers]
        self.times: list[float] = []
        self.began = trio.current_time()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.times.append(round(trio.current_time() - self.began, 6))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer()


async def test_requests_over_a_socket_reuse_their_connection() -> None:
    async with serving(lambda asked: Reply(200, asked.body or asked.target.encode())) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with open_calls(url + "/api", NONE, True) as calls:
            assert await calls.get("/tx/00?x=1") == Answer(200, b"/api/tx/00?x=1")
            assert repr(calls) == f"<HttpCalls {url}/api>"
        async with open_calls(url, NONE, True) as calls:
            for _ in range(3):
                assert await calls.post(b"[1]") == Answer(200, b"[1]")
            assert calls.calls == 3
    assert [one.target for one in server.asked] == ["/api/tx/00?x=1", "/", "/", "/"]
    headers = server.asked[1].headers
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers


async def test_nothing_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(fine) as server, open_calls(f"http://127.0.0.1:{server.port}", NONE, True) as calls:
        await calls.get("/")
    assert "authorization" not in server.asked[0].headers


async def test_user_and_password_are_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = Credentials(SECRET)
    async with (
        serving(fine) as server,
        open_calls(f"http://127.0.0.1:{server.port}", credentials, True) as calls,
    ):
        await calls.get("/")
        server.answer = lambda asked: Reply(401, b"no")
        with trio.fail_after(10), pytest.raises(Busy) as caught:
            await calls.get("/")
        told = [repr(calls), repr(vars(calls)), repr(credentials), *traceback.format_exception(caught.value)]
    sent = "Basic " + base64.b64encode(SECRET).decode()
    assert server.asked[0].headers["authorization"] == sent
    seen = caplog.text + "".join(told)
    assert seen
    for part in (sent[6:], "p/ss", "w@rd", "p%2Fss", "usér"):
        assert part not in seen


async def test_a_cookie_is_read_again_when_it_is_refused(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 1  # never, while a thread reads a file
    cookie = tmp_path / ".cookie"
    cookie.write_bytes(b"\xef\xbb\xbf__cookie__:one\n")
    valid = "one"
    seen: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        seen.append(sent)
        return reply(200 if sent == f"__cookie__:{valid}" else 401)

    credentials = Credentials(file=cookie)
    assert await credentials.read()
    assert not await credentials.read()
    calls = mocked(answer, credentials)
    assert (await calls.get("/")).status == 200
    valid = "two"
    cookie.write_text("__cookie__:two")
    assert (await calls.get("/")).status == 200
    assert seen == ["__cookie__:one", "__cookie__:one", "__cookie__:two"]
    valid = "three"
    for change in (lambda: None, lambda: cookie.write_text("nothing"), cookie.unlink):
        change()
        with trio.move_on_after(10), pytest.raises(Busy, match=r"^it refuses our user and password \(HTTP 401\)$"):
            await calls.get("/")
    # Left alone for half a minute: it was asked once, and once before the file was looked at.
    assert len(seen) == 4
    await calls.close()


@pytest.mark.parametrize("content", [b"", b"password", b"a:b\nc:d", b"x" * 5000])
async def test_a_file_without_user_and_password(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "auth").write_bytes(content)
    with pytest.raises(ValueError, match=r"auth: not one line user:password$"):
        await Credentials(file=tmp_path / "auth").read()
    with pytest.raises(FileNotFoundError):
        await Credentials(file=tmp_path / "none").read()


@pytest.mark.parametrize(
    "busy",
    [
        partial(reply, 503, b"Work queue depth exceeded"),
        partial(reply, 429),
        partial(reply, 502),
        httpx.ConnectError("all attempts failed"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.ReadError(""),
    ],
    ids=["work queue", "too many", "gateway", "dead", "hung up", "broken"],
)
async def test_a_server_without_room_is_left_alone_longer_and_longer(
    busy: Callable[[], httpx.Response] | Exception, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script(busy, busy, busy, partial(reply, 200), partial(reply, 200), busy, partial(reply, 200))
    calls = mocked(script)
    with trio.fail_after(10):
        assert (await calls.get("/")).status == 200
        assert script.times == [0, 0.25, 0.75, 1.75]
        await calls.get("/")
        await calls.get("/")
    assert script.times[4:] == [1.75, 1.75, 2]  # an answer, and it begins again


async def test_who_cannot_wait_so_long_fails_at_once(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(partial(reply, 503, b"Work queue depth exceeded"))
    calls = mocked(script)
    with trio.fail_after(10), pytest.raises(Busy, match=r"^HTTP 503: Work queue depth exceeded$"):
        await calls.get("/")
    assert script.times == [0, 0.25, 0.75, 1.75, 3.75, 7.75]  # the next would be at 15.75
    assert round(trio.current_time() - script.began, 6) == 7.75
    with trio.fail_after(1), pytest.raises(Busy):
        await calls.get("/")
    assert len(script.times) == 6


async def test_the_pause_has_an_end(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(*[partial(reply, 503)] * 12, partial(reply, 200))
    await mocked(script).get("/")
    pauses = [later - earlier for earlier, later in zip(script.times, script.times[1:], strict=False)]
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


@pytest.mark.parametrize(("wish", "pause"), [("7", 7), ("600", 600), ("100000", 600), ("soon", 0.25), ("-1", 0.25)])
async def test_a_server_says_for_how_long(wish: str, pause: float, autojump_clock: trio.testing.MockClock) -> None:
    script = Script(partial(reply, 429, Retry_After=wish), partial(reply, 200))
    await mocked(script).get("/")
    assert script.times == [0, pause]


async def test_eight_that_find_no_room_are_one_pause(autojump_clock: trio.testing.MockClock) -> None:
    calls_open = most = 0
    times: list[float] = []
    began = trio.current_time()

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal calls_open, most
        calls_open += 1
        most = max(most, calls_open)
        times.append(trio.current_time() - began)
        await trio.sleep(0.125)
        calls_open -= 1
        return reply(503 if len(times) <= AT_ONCE else 200)

    calls = mocked(answer)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(calls.get, "/")
    assert most == AT_ONCE
    assert times == [0] * 8 + [0.375] * 8 + [0.5] * 8 + [0.625] * 4


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
async def test_nobody_follows_a_server_elsewhere(status: int) -> None:
    script = Script(partial(reply, status, Location="http://elsewhere.example/"))
    with pytest.raises(Unanswered, match="leads elsewhere"):
        await mocked(script).get("/")
    assert len(script.times) == 1


async def test_an_answer_has_an_end() -> None:
    async with (
        serving(lambda asked: Reply(200, bytes(MAX_BODY))) as server,
        open_calls(f"http://127.0.0.1:{server.port}", NONE, True) as calls,
    ):
        assert len((await calls.get("/")).body) == MAX_BODY
        server.answer = lambda asked: Reply(200, bytes(MAX_BODY + 1))
        with pytest.raises(Unanswered, match="longer than 4,194,304 bytes"):
            await calls.get("/")
        server.answer = fine
        assert (await calls.get("/")).body == b"fine"


async def test_what_is_packed_is_not_unpacked() -> None:
    async with (
        serving(lambda asked: Reply(200, b"\x1f\x8bx", {"Content-Encoding": "gzip"})) as server,
        open_calls(f"http://127.0.0.1:{server.port}", NONE, True) as calls,
    ):
        assert (await calls.get("/")).body == b"\x1f\x8bx"


async def test_a_server_that_is_not_there_and_one_that_speaks_something_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 1
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with open_calls(f"http://127.0.0.1:{port}", NONE, True) as calls:
        with trio.fail_after(0.25), pytest.raises(Busy, match=r"^Connection refused$"):
            await calls.get("/")

    async def speak(stream: trio.SocketStream) -> None:
        await stream.send_all(b"SSH-2.0-OpenSSH\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, speak, 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_calls(f"http://127.0.0.1:{port}", NONE, True) as calls:
            with trio.fail_after(0.25), pytest.raises(Busy):
                await calls.get("/")
        nursery.cancel_scope.cancel()


def certificates(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's own certificate, as btcd makes one, and what its clients are given of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(True, False, True, False, False, True, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "rpc.cert").write_bytes(public)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(private + public)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, folder / "rpc.cert"


async def test_a_certificate_of_its_own_is_believed_if_it_is_given(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    context, certificate = certificates(tmp_path)
    async with serving(fine, context) as server:
        url = f"https://127.0.0.1:{server.port}"
        async with open_calls(url, NONE, ssl.create_default_context(cafile=certificate)) as calls:
            assert (await calls.get("/")).body == b"fine"
        async with open_calls(url, Credentials(SECRET), True) as calls:
            with trio.fail_after(10), pytest.raises(Busy, match="certificate"):  # at once: no time goes by
                await calls.get("/")
    assert len(server.asked) == 1


async def test_a_call_that_is_cancelled_leaves_no_socket(mock_clock: trio.testing.MockClock) -> None:
    """Neither in the middle of TLS, which httpx forgets, nor before an answer. Who forgets one is warned of it."""
    heard: list[bytes] = []

    async def say_nothing(stream: trio.SocketStream) -> None:
        while not heard or heard[-1]:
            heard.append(bytes(await stream.receive_some()))

    for scheme in ("https", "http"):
        heard.clear()
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            async with open_calls(f"{scheme}://127.0.0.1:{port}", NONE, True) as calls, trio.open_nursery() as inner:
                inner.start_soon(calls.get, "/")
                while not heard:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                inner.cancel_scope.cancel()
            for _ in range(100):
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert heard[-1] == b""
            nursery.cancel_scope.cancel()
    gc.collect()
