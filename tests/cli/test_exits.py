"""Exit codes: every end has one, and every command's help lists those that tests have seen it give."""

from __future__ import annotations

import pytest

from tests.cli.processes import run
from triolight import DisconnectCode, DisconnectReason, Side
from triolight.cli.exits import Exit, exit_of


@pytest.mark.parametrize("code", DisconnectCode)
def test_every_reason_has_an_exit_code(code: DisconnectCode) -> None:
    """A new code of the library shall not be forgotten here; those of timeouts and acts can be told by their names."""
    given = exit_of(DisconnectReason(code, Side.US, ""))
    assert given in (Exit.CONNECT, Exit.HANDSHAKE, Exit.PROTOCOL, Exit.TIMEOUT)
    assert ("TIMEOUT" in code or code is DisconnectCode.WRITE_STALLED) == (given == Exit.TIMEOUT)
    assert ("ACT_" in code or code is DisconnectCode.CLOSED_IN_HANDSHAKE) == (given == Exit.HANDSHAKE)


def test_help() -> None:
    for command in ([], ["demo"], ["ping"], ["listen"]):
        code, lines, _ = run(*command, "--help")
        assert code == 0
        for ending in ("  129  SIGHUP", "  130  Ctrl-C", "  143  SIGTERM"):
            assert ending in "\n".join(lines)
    _, lines, _ = run("--help")
    text = " ".join(" ".join(lines).split())
    assert "use a key that is made for this one run and forgotten" in text
    assert "may cost it a channel" in text
    assert run("--version")[0] == 0
