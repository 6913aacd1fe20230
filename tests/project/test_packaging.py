"""The package: versions, three dependencies, and extras that say what to install."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tests.support.project import ROOT


def test_versions_agree_and_dependencies_stay_three() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("triolight") == project["version"]
    assert [re.split(r"[<>=]", one)[0] for one in project["dependencies"]] == ["trio", "coincurve", "cryptography"]


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
        ("testing.strategies", "hypothesis", "test"),
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
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
