"""docs/interop.md from a run of these tests: which node holds what, and where it differs from us.

A test says what it shows by markers; the page has only what was run and has passed, and nothing else. Nothing is
measured or typed in here, so that two runs make the same page. Where a node cannot be asked something, CANNOT says why:
a gap without a reason is an error.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from interop.versions import chain_version, versions

PAGE: Final = Path(__file__).parent.parent / "docs" / "interop.md"
LDKS: Final = {"native": "LDK native", "wasm": "LDK WASM"}

CAPABILITIES: Final = {
    "we_dial": "handshake, we dial",
    "it_dials": "handshake, it dials",
    "init": "Init of both sides",
    "pings": "pings of sizes up to 65,531 bytes",
    "stream": "2,000 messages each way at once, the two directions' keys rotating out of step",
    "largest": "messages of 65,535 bytes",
    "custom": "custom messages, both ways",
    "unknown": "unknown odd and even messages",
    "words": "errors and warnings",
    "wrong_id": "a wrong node id",
    "duplicates": "duplicate connections: one is left",
    "crossing": "crossing dials: one is left",
    "ends": "one side leaves, the other sees it",
    "killed": "it is killed, and comes back",
    "keepalive": "its own keepalive is answered",
    "queries": "gossip queries, both ways",
    "graph": "gossip of a whole graph: verified, both ways, and what its own graph says",
    "onion": "onion messages: sent, opened, answered, passed on; what is dropped",
    "offers": "offers, invoice requests and invoices: each made by one and taken by the other",
    "lsps": "LSPS0, 1, 2 and 5, as a provider and as a client",
    "check": "`triolight check`",
    "codecs": "each message that both know, made by both; what one takes and the other refuses",
}

_CLIENT: Final = "a client: it does not listen"
_NO_GOSSIP: Final = "it has no gossip"
_LIBRARY: Final = "only packets: messages are its user's"
_NO_PEER: Final = "only its noise and its codec: its peer wants a wallet, and is not run"
_NOT_ALONE: Final = "its codec is not asked alone, only in what is counted above"
_NATIVE: Final = "LDK native is asked"
_NO_ONIONS: Final = "it has no onion messages"
_NO_OFFERS: Final = "it has no offers: it passes onion messages on"
_NO_LSPS: Final = "it is no liquidity provider here"
CANNOT: Final = {
    ("LDK WASM", "queries"): "it has no gossip to ask for here",
    ("LDK WASM", "graph"): "it has no gossip to ask for here",
    **{
        (name, "lsps"): _NO_LSPS for name in ("LDK WASM", "LND", "pyln-proto", "lightning-kmp", "lnmessage", "lnsocket")
    },
    ("pyln-proto", "keepalive"): _LIBRARY,
    ("pyln-proto", "queries"): _NO_GOSSIP,
    ("pyln-proto", "graph"): _NO_GOSSIP,
    ("pyln-proto", "check"): _LIBRARY,
    **{("lightning-kmp", what): _NO_PEER for what in ("duplicates", "crossing", "keepalive", "check")},
    ("lightning-kmp", "queries"): _NO_GOSSIP,
    ("lightning-kmp", "graph"): _NO_GOSSIP,
    **{("LDK WASM", what): _NATIVE for what in ("onion", "offers")},
    ("LND", "offers"): _NO_OFFERS,
    **{(name, what): _NO_ONIONS for name in ("pyln-proto", "lnmessage", "lnsocket") for what in ("onion", "offers")},
    **{(name, "codecs"): _NOT_ALONE for name in ("LDK native", "LDK WASM", "LND", "lnmessage", "lnsocket")},
    ("pyln-proto", "codecs"): _LIBRARY,
    **{(name, what): _CLIENT for name in ("lnmessage", "lnsocket") for what in ("we_dial", "crossing", "check")},
    **{(name, what): _NO_GOSSIP for name in ("lnmessage", "lnsocket") for what in ("queries", "graph")},
}


class Collected:
    """What the tests of this run have shown."""

    def __init__(self) -> None:
        self.tests: Counter[tuple[str, str]] = Counter()
        self.differences: dict[tuple[str, str], tuple[str, str]] = {}
        """Ours, and the first test by name, by node and theirs."""
        self.broken: dict[str, list[str]] = {}
        self.passes = 0
        self.skipped = 0

    def passed(self, properties: list[tuple[str, Any]]) -> None:
        """What a test's report says."""
        self.passes += 1
        for name, value in properties:
            if name == "shows":
                self.tests[tuple(value)] += 1
            elif name == "differs":
                node, theirs, ours, test = value
                told = self.differences.setdefault((node, theirs), (ours, test))
                self.differences[node, theirs] = min(told, (ours, test))
            elif name == "breaks":
                node, rules = value
                self.broken[node] = rules


def shown_by(item: pytest.Item) -> list[tuple[str, Any]]:
    """What a test that has passed says of its node, for its report: plain values, since that travels."""
    node = node_of(item)
    shown: list[tuple[str, Any]] = []
    for marker in item.iter_markers("shows"):
        shown += [("shows", [node, what]) for what in marker.args]
    meet = getattr(item, "callspec", None) and item.callspec.params.get("meet")  # type: ignore[attr-defined]
    if meet is not None:
        shown.append(("shows", [node, "we_dial" if meet.__name__ == "dial" else "it_dials"]))
    for marker in item.iter_markers("differs"):
        theirs, ours = marker.args
        shown.append(("differs", [node, theirs, ours, f"{item.path.name}: {item.originalname}"]))  # type: ignore[attr-defined]
    for name, value in item.user_properties:
        if name == "broken":
            shown.append(("breaks", [node, sorted(str(value).splitlines())]))
    return shown


def node_of(item: pytest.Item) -> str:
    """A test's node: named by its marker, or one of the two LDKs by its parameter."""
    marker = item.get_closest_marker("node")
    if marker is not None:
        return str(marker.args[0])
    callspec: Any = getattr(item, "callspec", None)
    if callspec is None or "open_ldk" not in callspec.params:
        raise pytest.UsageError(f"{item.nodeid}: no node is named")
    return LDKS[callspec.params["open_ldk"]]


def page(collected: Collected) -> str:
    """ValueError where a node and a capability have neither a test nor a reason."""
    nodes = versions()
    lines = [
        "# Real nodes",
        "",
        "Made by a run of the tests in `interop/` (`python -m pytest interop --write-docs`); do not edit. It has only",
        "what was run and has passed. All nodes run on loopback, in processes of their own.",
        "",
        "| node | version |",
        "| --- | --- |",
        *(f"| {name} | {version} |" for name, version in nodes.items()),
        "",
        "lnmessage is run over TCP and over WebSocket, the others over TCP. For gossip three LNDs are a network, with",
        f"channels on the chain of a btcd {chain_version()}; a fourth one, and LDK native,",
        "learn their graph from us.",
        "",
        "Core Lightning, Eclair and Electrum are not run. How they gossip, as far as we know it, is played by scripted",
        "peers, in `tests/support/personas.py`.",
        "",
        "## What holds",
        "",
        "The number of tests; a letter where a node cannot be asked.",
        "",
        f"| | {' | '.join(nodes)} |",
        f"| --- |{' ---: |' * len(nodes)}",
    ]
    reasons: list[str] = []
    for what, text in CAPABILITIES.items():
        cells: list[str] = []
        for name in nodes:
            count, reason = collected.tests[name, what], CANNOT.get((name, what))
            if (count > 0) is (reason is not None):
                raise ValueError(f"{name}, {text}: {count} tests, and why there could be none: {reason}")
            if reason is None:
                cells.append(str(count))
                continue
            if reason not in reasons:
                reasons.append(reason)
            cells.append("abcdefghijklmnop"[reasons.index(reason)])
        lines.append(f"| {text} | {' | '.join(cells)} |")
    lines += ["", *(f"- {letter}: {reason}" for letter, reason in zip("abcdefghijklmnop", reasons, strict=False)), ""]
    lines += ["## What they do differently", ""]
    for name, version in nodes.items():
        rows = [(theirs, *told) for (node, theirs), told in collected.differences.items() if node == name]
        lines += [f"### {name} {version}", ""]
        if rows:
            lines += ["| it | we | seen by |", "| --- | --- | --- |"]
            lines += [f"| {theirs} | {ours} | `{test}` |" for theirs, ours, test in sorted(rows)]
        else:
            lines += ["Nothing that these tests have seen."]
        lines += [""]
    lines += [
        "## What `triolight check` finds",
        "",
        "Rules of the BOLTs that a node breaks; all others that could be asked it keeps.",
        "",
    ]
    lines += ["| node | rule |", "| --- | --- |"]
    for name in nodes:
        lines += [f"| {name} | {rule} |" for rule in collected.broken.get(name, ())]
    return "\n".join(lines) + "\n"


def finish(collected: Collected, exitstatus: int) -> str:
    """Writes the page, or says why not."""
    if exitstatus or collected.skipped or not collected.passes:
        return "docs/interop.md is not written: not all tests were run and have passed"
    PAGE.write_text(page(collected))
    return "docs/interop.md is written"
