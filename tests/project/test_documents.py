"""The documents say what the code says: reasons, bounds, deadlines, examples, links, commands."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
import runpy
import sys
from types import ModuleType
from typing import Any

import pytest
import trio

from tests.support import identity, make_manager, port_of
from tests.support.project import DESIGN, FLOORS, PACKAGE, ROOT
from triolight import (
    DisconnectCode,
    NodeAddress,
    PeerConnected,
    PeerDisconnected,
    Side,
    open_peer_nursery,
)
from triolight.messages import BOLT, Ping
from triolight.reasons import ABOUT


def test_the_page_of_reasons_is_made_from_their_table() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_reasons.py"))["page"]()
    assert made == (ROOT / "docs" / "reasons.md").read_text(), "run docs/make_reasons.py"
    assert list(ABOUT) == list(DisconnectCode)


def test_the_page_of_records_is_made_from_their_tables() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_record.py"))["page"]()
    assert made == (ROOT / "docs" / "record.md").read_text(), "run docs/make_record.py"


BOUNDS = DESIGN + (ROOT / "docs" / "policy.md").read_text()
UNITS = {"KiB": 1024, "MiB": 1024 * 1024}


def test_the_design_has_every_bound_with_its_value() -> None:
    rows = re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` \| ([\d,.]+) ?(\w*) \| \S", BOUNDS, re.MULTILINE)
    documented = {
        (module, name): float(number.replace(",", "")) * UNITS.get(unit, 1) for module, name, number, unit in rows
    }
    assert len(documented) == len(rows)
    for (module, name), value in documented.items():
        assert getattr(importlib.import_module(f"triolight.{module}"), name) == value, f"{module}.{name}"
    # Where the bounds are, every number that has a name is one.
    defined: set[tuple[str, str]] = set()
    bounded = ("connection", "policy", "peer_manager", "descriptor", "ways", "websocket", "nursery")
    for floor in FLOORS:
        if floor not in bounded and not floor.startswith(("manager/", "shell/")):
            continue
        module = floor.replace("/", ".")
        for node in ast.parse((PACKAGE / f"{floor}.py").read_text()).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.isupper():
                name = node.target.id
                value = getattr(importlib.import_module(f"triolight.{module}"), name)
                if not name.startswith("_") and isinstance(value, int | float):
                    defined.add((module, name))
    assert defined <= documented.keys(), "its table of bounds lacks something"


def test_the_design_has_every_deadline_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", DESIGN, re.MULTILINE)
    parameters = inspect.signature(open_peer_nursery).parameters.values()
    assert [(name, int(seconds)) for name, seconds in rows] == [
        (one.name, one.default) for one in parameters if one.name.endswith(("_deadline", "_interval"))
    ]


def example(document: str) -> str:
    """The first Python in a document."""
    found = re.search(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


async def test_the_readmes_tutorial_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    source = example("README.md")
    async with (
        open_peer_nursery(make_manager(2)) as far,
        far.events() as events,
        far.subscribe(Ping) as pings,
    ):
        address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
        source, dialled = re.subn(r'"02ab\S*"', repr(str(address)), source)
        source, started = re.subn(r"^trio\.run\(main\)$", "", source, flags=re.MULTILINE)
        assert (dialled, started) == (1, 1)
        scope: dict[str, Any] = {}
        exec(compile(source, "README.md", "exec"), scope)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scope["main"])
                connected = await anext(events)
                assert isinstance(connected, PeerConnected)
                await anext(pings)
                await connected.peer.disconnect("that was the tutorial")
            ended = await anext(events)
        assert isinstance(ended, PeerDisconnected)
        assert ended.reason.by is Side.US
    printed = capsys.readouterr().out
    assert "option_data_loss_protect" in printed
    assert "PEER_CLOSED (by peer)" in printed
    assert "that was the tutorial" in printed.splitlines()[-1]


def test_the_example_of_messages_declares_and_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("an_application")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example("docs/messages.md"), "docs/messages.md", "exec"), vars(module))
    (kind,) = set(module.messages) - set(BOLT)
    price = module.Price(amount_msat=5, currency=b"sat")
    sent = kind(
        id=bytes(32), items=(price, price), tlvs=module.QuoteTlvs(price=price, nodes=(identity(1),), final=True)
    )
    assert module.messages.decode(sent.encode()) == sent


def test_the_page_of_messages_is_made_from_the_declarations() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_every_message.py"))["page"]()
    assert made == (ROOT / "docs" / "every_message.md").read_text(), "run docs/make_every_message.py"
    for cls in BOLT:
        assert f"\n### {cls.name} ({cls.type})\n" in made


def links() -> list[tuple[str, str]]:
    """Document and target of each link that leads to a file of ours, or names one."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found: dict[tuple[str, str], None] = {}
    for document in documents:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if not re.match(r"[a-z]+:|#", target):
                found[str(document.relative_to(ROOT)), target.partition("#")[0]] = None
    return list(found)


@pytest.mark.parametrize(("document", "target"), links())
def test_every_link_leads_to_a_file(document: str, target: str) -> None:
    assert (ROOT / document).parent.joinpath(target).exists()


def test_the_readmes_commands_are_what_ci_runs() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert len(re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)) == 2
    assert 'grep -m1 "pytest -q" README.md' in ci
