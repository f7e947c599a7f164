"""Static files of others that we serve one at a time, because their folders hold much that we do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import plotly
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage, Storage

#: The path below STATIC_URL, and the file that is served there.
PLOTLY_PATH = "plotly/plotly.min.js"
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


class PlotlyFinder(BaseFinder):
    """Finds the chart library inside the ``plotly`` package, and nothing else of it."""

    def check(self, **kwargs: object) -> list[Any]:  # noqa: ARG002
        """Nothing can be configured wrongly here."""
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: object) -> Any:  # noqa: ARG002, FBT001, FBT002
        """The file for our one path; an empty list for any other."""
        if path != PLOTLY_PATH:
            return []
        return [str(PLOTLY_FILE)] if find_all else str(PLOTLY_FILE)

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:  # noqa: ARG002
        """Our one file, in a storage that sees its folder under the prefix ``plotly``."""
        storage = FileSystemStorage(location=PLOTLY_FILE.parent)
        storage.prefix = "plotly"  # type: ignore[attr-defined]  # what collectstatic puts before the name
        yield PLOTLY_FILE.name, storage
