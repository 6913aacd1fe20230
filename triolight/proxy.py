"""Dials through a SOCKS5 proxy (RFC 1928, 1929), as Tor's. No name of a node is resolved on this side.

`open_through` needs the extra `tor`; what else is here does not. The protocol is python-socks's. What is ours is what
a peer layer owes its user: names and onions reach the proxy as names, nodes do not share a circuit, and whatever goes
wrong is an OSError in words, as with `trio.open_tcp_stream`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import trio

from triolight.address import DnsAddress, descriptor_of, is_ip, is_name, is_number
from triolight.text import place, printable, quoted, system_words

__all__ = [
    "Proxy",
]

ISOLATION_USER: Final = "triolight"
"""The user name under which streams are isolated; the password tells them apart. Tor takes any and checks none."""

_MAX_CREDENTIAL: Final = 255
"""RFC 1929: its length is one byte."""
_ONION_WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0xF0: "onion service not found",
        0xF1: "onion service descriptor is invalid",
        0xF2: "onion service introduction failed",
        0xF3: "onion service rendezvous failed",
        0xF4: "onion service wants client authorization",
        0xF5: "onion service refused the client authorization",
        0xF6: "not a valid onion address",
        0xF7: "onion service introduction timed out",
    }
)
"""What Tor says with `ExtendedErrors`; the library knows RFC 1928's codes alone."""
_UNKNOWN_CODE: Final = r"Invalid reply code: 0X([0-9A-F]{1,2})"


class ProxyError(OSError):
    """No connection through a proxy. The text names the proxy, what was asked of it, and what it said.

    `code` is the number of its refusal (RFC 1928, or Tor's extension of it), None where it gave none.
    """

    def __init__(self, words: str, code: int | None = None) -> None:
        super().__init__(words)
        self.code: Final = code


@dataclass(frozen=True, slots=True)
class Proxy:
    """A SOCKS5 proxy: IP address or name, and TCP port. ValueError names what does not fit.

    With `isolate`, and without credentials of the proxy's own, each `isolation` given to `open_through` has a password
    of its own, and so a circuit of its own in Tor (``IsolateSOCKSAuth``, its default). A proxy that asks nobody's name
    is used without it, which is what Tor does with ``PreferSOCKSNoAuth``: then nothing is isolated. `username` and
    `password`, 1 to 255 ASCII characters, are for a proxy that demands them; they are the same for all streams.
    """

    host: str
    port: int
    isolate: bool = True
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not (is_ip(self.host) and "%" not in self.host) and not _is_name(self.host):
            raise ValueError(f"not a host of a proxy: {quoted(self.host, 80)}")
        if not 0 < self.port <= 0xFFFF:
            raise ValueError(f"no TCP port of a proxy: {self.port}")
        if (self.username is None) != (self.password is None):
            raise ValueError("a proxy takes a user name and a password, or neither")
        for what, value in (("user name", self.username), ("password", self.password)):
            if value is not None and not (value.isascii() and 0 < len(value) <= _MAX_CREDENTIAL):
                # Its text stays out of the error: it is half of a secret.
                raise ValueError(f"the {what} of a proxy has 1 to {_MAX_CREDENTIAL} ASCII characters")

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """From ``socks5://[user:password@]host:port``, IPv6 in brackets; ``socks5h`` means the same here, since names
        always go to the proxy. ValueError says what is wrong, and never shows a password.
        """
        # The library of URLs drops control characters, and folds others: what it reads would not be what was written.
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("a proxy is written in ASCII without spaces: socks5://host:port")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("no host and TCP port of a proxy: write it as socks5://host:port") from None
        if parts.scheme not in ("socks5", "socks5h"):
            # A text without a scheme may begin with the user name, so only what is surely a scheme is shown.
            scheme = f", not {quoted(parts.scheme, 40)}" if "://" in text else ""
            raise ValueError(f"a proxy begins with socks5:// or socks5h://{scheme}")
        if not host:
            raise ValueError("no host of a proxy: write it as socks5://host:port")
        if port is None:
            raise ValueError("no TCP port of a proxy: write it as socks5://host:port, Tor's is 9050")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("nothing follows the port of a proxy")
        return cls(host, port, username=_unquoted(parts.username), password=_unquoted(parts.password))

    def __str__(self) -> str:
        """As a URL, without the password."""
        user = "" if self.username is None else f"{quote(self.username, safe='')}@"
        return f"socks5://{user}{place(self.host, self.port)}"


@trio.lowlevel.enable_ki_protection
async def open_through(proxy: Proxy, host: str, port: int, *, isolation: str = "") -> trio.SocketStream:
    """A stream with `host`, a name, a version 3 onion or an IP address, through the proxy.

    Nothing but the proxy's own host is ever resolved here, and nothing at all if that is an IP address. A dot that ends
    a name is dropped. `isolation` is whatever two streams must have in common to share a circuit, such as the node id
    in hex; see `Proxy`.

    Raises `ProxyError` if the proxy cannot be reached, is none, hangs up, refuses, or cannot be asked for such a host;
    ImportError without the extra `tor`. Waits as long as the proxy does, Tor for about two minutes: the deadline is the
    caller's. Cancelled, it closes the socket.
    """
    # Imported here, so that whoever only names a proxy or its error needs no extra.
    import python_socks
    from python_socks.async_.trio import Proxy as Socks

    through = f"proxy {place(proxy.host, proxy.port)}"
    host = host.removesuffix(".")
    asked = printable(place(host, port), 280)
    _check_host(through, host, port)
    username, password = _credentials(proxy, isolation)
    socks = Socks(python_socks.ProxyType.SOCKS5, proxy.host, proxy.port, username, password, rdns=True)
    try:
        # Without a number the library has a deadline of its own.
        socket = await socks.connect(host, port, timeout=math.inf)
    except python_socks.ProxyConnectionError as error:
        raise ProxyError(f"{through} cannot be reached: {system_words(error.__cause__ or error)}") from error
    except python_socks.ProxyError as error:
        raise _refused(through, asked, str(error), error.error_code) from error
    except UnicodeError as error:
        # The name for its end of the connection, which nobody wants to know, is not even text.
        raise ProxyError(f"{through} answered with a malformed address") from error
    except OSError as error:
        # From the socket. The library's own error for a deadline is one too, but it has none here.
        raise ProxyError(f"{through} hung up: {system_words(error)}") from error
    return trio.SocketStream(socket)


def check_extra() -> None:
    """ImportError, which says what to install, if dials through a proxy cannot be made here."""
    try:
        import python_socks as python_socks
    except ImportError:
        raise ImportError("a proxy needs the extra 'tor': pip install 'triolight[tor]'") from None


def _refused(through: str, asked: str, words: str, code: int | None) -> ProxyError:
    """What the library read as a refusal, in words that tell the proxy's fault from the destination's."""
    unknown = re.fullmatch(_UNKNOWN_CODE, words)
    if unknown is not None:
        code = int(unknown[1], 16)
        words = _ONION_WORDS.get(code, f"unknown refusal {code}")
    if code is not None:
        return ProxyError(f"{through} refused {asked}: {words}", int(code))
    if words.startswith("Unexpected SOCKS version"):
        return ProxyError(f"{through} is not a SOCKS5 proxy: {words}")
    if words.startswith("Connection closed"):
        return ProxyError(f"{through} hung up before it answered for {asked}")
    return ProxyError(f"{through} did not serve {asked}: {words}")


def _credentials(proxy: Proxy, isolation: str) -> tuple[str | None, str | None]:
    if proxy.username is None and proxy.isolate:
        # Hashed: it fits whatever its length, and the proxy's log does not name nodes.
        return ISOLATION_USER, hashlib.sha256(isolation.encode("utf-8", "surrogatepass")).hexdigest()
    return proxy.username, proxy.password


def _check_host(through: str, host: str, port: int) -> None:
    """ProxyError for what the library cannot write, or would write as something else."""
    shown = quoted(host, 280)
    if not 0 < port <= 0xFFFF:
        raise ProxyError(f"{through} was not asked: no TCP port: {port}")
    try:
        address = descriptor_of(host, port)
    except ValueError as error:
        raise ProxyError(f"{through} was not asked: {error}") from None
    if isinstance(address, DnsAddress):
        if is_number(host):
            raise ProxyError(f"{through} was not asked: not a host name: {shown}")
    elif "%" in host:
        raise ProxyError(f"{through} was not asked: an address with a zone means nothing elsewhere: {shown}")


def _is_name(host: str) -> bool:
    """With or without a dot at its end. With a number for its last label it is an address, and then a malformed one."""
    return is_name(host.removesuffix(".")) and not is_number(host)


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote_to_bytes(text).decode("latin-1")
