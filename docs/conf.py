"""How Sphinx makes the site of these pages: ``sphinx-build -W -n -b html docs site``. It asks the network for nothing.

Pages are Markdown (MyST) and keep their paths; what stands where on the site is said by the toctrees of index.md. The
reference is made from docstrings. Where Python's and Trio's sites describe a name stands in inventories/: whoever uses
another name adds a line there. `sphinx-build -b linkcheck docs site` asks those sites whether it is so.
"""

from __future__ import annotations

import builtins
import importlib
import re
import sys
import tomllib
from enum import Enum
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
PROJECT: Final[dict[str, Any]] = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]

project = "triolight"
release = version = PROJECT["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinxcontrib_trio"]

html_theme = "furo"
html_title = f"triolight {release}"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3

autoclass_content = "both"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
autodoc_type_aliases = {
    "Address": "triolight.address.Address",
    "AnyMessage": "triolight.messages.AnyMessage",
    "Dial": "triolight.ways.Dial",
    "HandlerResult": "triolight.actions.HandlerResult",
    "MessageSendEvent": "triolight.actions.MessageSendEvent",
    **{name: f"triolight.lsps.{name}" for name in ("Amount", "Count", "Flag", "Scid", "Text", "Time")},
}
"""Shown by their names, not as what they stand for."""

intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.txt"),
    "trio": ("https://trio.readthedocs.io/en/stable", "inventories/trio.txt"),
}

nitpicky = True
default_role = "py:obj"
nitpick_ignore_regex = [
    # Arguments, fields and the BOLTs' names stand in the same marks as what can be linked to.
    ("py:obj", r"[a-z0-9_]+"),
    # Type variables.
    ("py:(class|obj)", r"triolight\.[\w.]+\._?[A-Z][0-9]?"),
]
nitpick_ignore = [
    # Tapes alone stand there.
    ("py:class", "triolight.manager.seams.Seams"),
    # What is needed of a P2PGossipSync, and of a GraphStore.
    ("py:class", "triolight.services.gossip.Sync"),
    ("py:class", "triolight.services.gossip.Store"),
    # What counts beside the peers: a Gossip.
    ("py:class", "triolight.metrics.Counting"),
    # The same of who takes answers about outputs.
    ("py:class", "triolight.services.utxo.AnswerTaker"),
    # What `keep` gives is made with it, and not by users.
    ("py:class", "triolight.shell.keep.Keep"),
    # Where Hypothesis describes it changes with its versions.
    ("py:class", "hypothesis.strategies.SearchStrategy"),
]

for _module in ("nursery", "opening"):
    # Imported there for type checkers alone: who records nothing does not load it.
    vars(importlib.import_module(f"triolight.{_module}"))["Tape"] = importlib.import_module("triolight.tape.tape").Tape

MADE_BY_US: Final = {
    "triolight.Inbox",
    "triolight.KeptPeer",
    "triolight.Peer",
    "triolight.PeerEvents",
    "triolight.PeerStatistics",
    "triolight.PeersStatistics",
    "triolight.PeerNursery",
    "triolight.StreamDescriptor",
    "triolight.testing.ScriptedPeer",
    "triolight.testing.SimulatedHost",
    "triolight.testing.SimulatedListener",
    "triolight.testing.SimulatedStream",
    "triolight.websocket.WebSocketStream",
    "triolight.cluster.FleetConfig",
    "triolight.cluster.FleetEvents",
    "triolight.cluster.KeptRemotePeer",
    "triolight.cluster.RemotePeer",
    "triolight.cluster.RemotePeers",
    "triolight.shell.keep.Kept",
    "triolight.shell.newcomers.Newcomer",
    "triolight.shell.newcomers.Newcomers",
    "triolight.services.Gossip",
    "triolight.services.GossipChanges",
    "triolight.services.GraphStore",
    "triolight.services.Lsps",
    "triolight.services.Lsps1",
    "triolight.services.Lsps2",
    "triolight.services.Lsps5",
    "triolight.services.Messenger",
    "triolight.services.OnionInbox",
    "triolight.services.OnionReceived",
    "triolight.services.ReturnedInbox",
    "triolight.services.StorageStore",
    "triolight.services.UtxoSource",
}
"""Classes whose constructor is nobody's to call: it is not shown."""

README_LEADS_TO: Final = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "examples": "guide/examples.md",
}


def from_outside(text: str, above: str) -> str:
    """A page of the repository's root as one of the site: its links, from a page that stands `above` the others."""

    def target(found: re.Match[str]) -> str:
        path, mark, anchor = found.group(1).partition("#")
        path = path.removeprefix("docs/") if path.startswith("docs/") else README_LEADS_TO.get(path.split("/")[0], path)
        return f"]({path if ':' in path else above + path}{mark}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", target, text)


def include(app: Any, page: str, source: list[str]) -> None:
    """A page that is nothing but ``<!-- from README.md -->`` becomes that file."""
    found = re.fullmatch(r"<!-- from (\S+) -->\s*", source[0])
    if found is not None:
        source[0] = from_outside((HERE.parent / found.group(1)).read_text(), "../" * page.count("/"))


def show_signature(
    app: Any, kind: str, name: str, thing: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    if name in MADE_BY_US or (isinstance(thing, type) and issubclass(thing, Enum)):
        return "", None
    # What is no text that is Python: a default that is made anew each time, or is shown by what it is.
    return signature and re.sub(r"=\s?<[^<>]*>", "=...", signature), returns


def find_words(app: Any, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Words of a constant, from where it is defined: elsewhere Sphinx takes its type's."""
    if kind != "data":
        return
    module, _, name = name.rpartition(".")
    inside = module.split(".")[0]
    homes = [module, *(home for home in sorted(sys.modules) if home.startswith(f"{inside}."))]
    for home in homes:
        if getattr(sys.modules[home], name, None) is thing:
            analyzer = importlib.import_module("sphinx.pycode").ModuleAnalyzer.for_module(home)
            words = analyzer.find_attr_docs().get(("", name))
            if words is not None:
                lines[:] = words
                return
    raise LookupError(f"{module}.{name} says nowhere what it is")


def list_arguments(app: Any, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """What is indented behind a colon, an argument and its words a line, as a list."""
    found: list[str] = []
    inside = False
    for line in lines:
        argument = re.match(r"  (\w+): (.*)", line)
        if argument is not None and (inside or (found and re.search(r"[^:]:$", found[-1]))):
            found += [] if inside else [""]
            inside = True
            line = f"* `{argument.group(1)}`: {argument.group(2)}"
        elif inside and line.startswith("   "):
            line = line[2:]
        elif inside:
            found += [""] if line else []
            inside = False
        found.append(line)
    lines[:] = found


def leave_builtins(app: Any, tree: Any) -> None:
    """``type[Message]`` is no attribute called `type` of ours, which is where Sphinx would lead."""
    for node in [one for one in tree.findall() if one.__class__.__name__ == "pending_xref"]:
        if node["refdomain"] == "py" and node["reftype"] == "class" and hasattr(builtins, node["reftarget"]):
            node.replace_self(node[0].children)


def find_elsewhere(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """A name that docstrings use as it is imported, `Policy` or `Peer.send`: from any module of the reference."""
    name = re.sub(r"\(.*\)$", "", node["reftarget"])
    if node["refdomain"] != "py" or re.fullmatch(r"[a-z0-9_]+", name):
        return None
    domain = env.domains["py"]
    for place in sorted(domain.modules):
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"{place}.{name}", node, shown)
        if found is not None:
            return found
    return None


def show_name(stand_in: Any) -> str:
    return str(stand_in.name)


def setup(app: Any) -> dict[str, bool]:
    # In place of `Address | None` Sphinx 9.0 shows how its own stand-in for that name is made.
    importlib.import_module("sphinx.util.inspect").TypeAliasForwardRef.__repr__ = show_name
    app.connect("source-read", include)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-process-docstring", find_words)
    app.connect("autodoc-process-docstring", list_arguments)
    app.connect("doctree-read", leave_builtins)
    app.connect("missing-reference", find_elsewhere)
    return {"parallel_read_safe": True}
