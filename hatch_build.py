"""What a build writes into the package's metadata beside what pyproject.toml says: the project's URLs.

They are the publisher's, who knows where the project lives; it lives in no place that this repository could name. At a
build, TRIOLIGHT_PROJECT_URLS has them, `Label=URL` each, with blanks or line ends between; without it there are none.
"""

from __future__ import annotations

import os
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE: Final = "TRIOLIGHT_PROJECT_URLS"


class ProjectUrls(MetadataHookInterface):
    """Fills the dynamic field `urls`. ValueError for a word of the variable that is no `Label=URL`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """By hatchling, once a build."""
        metadata["urls"] = dict(map(url, os.environ.get(VARIABLE, "").split()))


def url(word: str) -> tuple[str, str]:
    label, _, address = word.partition("=")
    if not label or "://" not in address:
        raise ValueError(f"{VARIABLE}: not Label=URL: {word!r}")
    return label, address
