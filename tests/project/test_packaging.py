"""The package: versions, three kinds of dependencies, extras that say what to install, and what a build says of it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from packaging.requirements import Requirement

import triolight
from tests.support.project import ROOT

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
KINDS = {
    "trio": "the event loop",
    "coincurve": "secp256k1",
    "btclib-secp256k1": "secp256k1",
    "cryptography": "the AEAD",
}


@pytest.mark.parametrize("python", PYTHONS)
def test_dependencies_stay_of_three_kinds_one_of_each(python: str) -> None:
    needed = [one for one in map(Requirement, PROJECT["dependencies"]) if applies(one, python)]
    assert [KINDS[one.name] for one in needed] == [*dict.fromkeys(KINDS.values())]
    assert {Requirement(one).name for one in PROJECT["dependencies"]} == {*KINDS}


def applies(requirement: Requirement, python: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"python_version": python})


def test_versions_agree() -> None:
    assert importlib.metadata.version("triolight") == PROJECT["version"] == triolight.__version__
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one) for one in PROJECT["classifiers"]]
    assert tuple(found[1] for found in named if found) == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_extras_are_what_users_want_and_groups_what_we_want() -> None:
    assert {*EXTRAS} == {"cli", "tor", "ws", "dns", "metrics", "utxo", "parquet", "plot", "cluster", "testing", "test"}
    assert [Requirement(one).name for one in EXTRAS["testing"]] == ["hypothesis"]
    assert {*PYPROJECT["dependency-groups"]} == {"lint", "fuzz", "docs", "user"}


def test_trio_typing_is_in_no_users_type_check() -> None:
    """Its stubs shadow Trio's own types. Only our own tests want it."""
    with_it = {extra for extra in EXTRAS if "trio-typing" in brought_by(EXTRAS[extra])}
    assert with_it == {"test"}
    for group in PYPROJECT["dependency-groups"].values():
        assert "trio-typing" not in brought_by(group)


def brought_by(lines: Iterable[str]) -> Iterator[str]:
    for one in map(Requirement, lines):
        yield one.name
        for extra in one.extras if one.name == "triolight" else ():
            yield from brought_by(EXTRAS[extra])


@pytest.mark.parametrize(
    ("told", "urls"),
    [
        ("", None),
        (
            "Source=https://example.org/x?a=b\nDocumentation=https://example.org/docs",
            {"Source": "https://example.org/x?a=b", "Documentation": "https://example.org/docs"},
        ),
    ],
)
def test_a_build_takes_the_projects_urls_from_the_publisher(told: str, urls: dict[str, str] | None) -> None:
    done = build_metadata(told)
    assert done.returncode == 0, done.stderr
    metadata = json.loads(done.stdout)
    assert metadata.get("urls") == urls
    assert metadata["authors"] == [{"name": "the triolight developers"}]


def test_a_build_refuses_what_is_no_url() -> None:
    done = build_metadata("https://example.org/")
    assert done.returncode != 0
    assert "TRIOLIGHT_PROJECT_URLS: not Label=URL: 'https://example.org/'" in done.stderr


def build_metadata(urls: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "metadata"]
    environment = {**os.environ, "TRIOLIGHT_PROJECT_URLS": urls}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def test_the_source_distribution_holds_what_the_readme_leads_to() -> None:
    tool: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    held = tool["hatch"]["build"]["targets"]["sdist"]["include"]
    led_to = set(re.findall(r"\]\((?!https?:)([\w.-]+)", (ROOT / "README.md").read_text()))
    assert {"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} <= led_to
    assert led_to <= {*held}


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("websocket", "wsproto", "ws"),
        ("metrics", "prometheus_client", "metrics"),
        ("seeds", "dns", "dns"),
        ("services.calls", "httpx", "utxo"),
        ("services.parquet", "pyarrow", "parquet"),
        ("services.plots", "matplotlib", "plot"),
        ("testing.strategies", "hypothesis", "testing"),
    ],
)
def test_what_needs_an_extra_says_so(module: str, missing: str, extra: str) -> None:
    words = f"the extra '{extra}': pip install 'triolight[{extra}]'"
    program = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import triolight.{module}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert words in done.stdout
    assert extra in EXTRAS
