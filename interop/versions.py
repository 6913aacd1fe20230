"""Which versions of the real nodes are here, from the files that pin them. No test, and no node, is run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def versions() -> dict[str, str]:
    """By name of the node, as docs/interop.md and docs/performance.md call them."""
    locked = tomllib.loads((HERE / "ldk_native" / "Cargo.lock").read_text())["package"]
    npm = {
        name: json.loads((HERE / name / "package-lock.json").read_text()) for name in ("ldk", "lnmessage", "lnsocket")
    }

    def package(folder: str, name: str) -> str:
        return str(npm[folder]["packages"][f"node_modules/{name}"]["version"])

    return {
        "LDK native": next(str(one["version"]) for one in locked if one["name"] == "lightning"),
        "LDK WASM": package("ldk", "lightningdevkit"),
        "LND": _pinned("lnd/go.mod", r"github\.com/lightningnetwork/lnd v(\S+)"),
        "pyln-proto": _pinned("pyln/requirements.txt", r"^pyln-proto==(\S+)"),
        "lightning-kmp": _pinned(
            "lightning_kmp/pom.xml", r"<artifactId>lightning-kmp-jvm</artifactId><version>([^<]+)"
        ),
        "lnmessage": package("lnmessage", "lnmessage"),
        "lnsocket": package("lnsocket", "lnsocket"),
    }


def chain_version() -> str:
    """Of btcd, on whose chain the network of LNDs is."""
    return _pinned("lnd/go.mod", r"github\.com/btcsuite/btcd v(\S+)")


def _pinned(file: str, pattern: str) -> str:
    found = re.search(pattern, (HERE / file).read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"interop/{file} pins no {pattern}")
    return found[1]
