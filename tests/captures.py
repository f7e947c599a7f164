"""Telemetry captured from real agent frameworks, with what is known to be true of each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "otlp"


@dataclass(frozen=True)
class Capture:
    """One scenario of one client: the request bodies as sent, and the truth."""

    name: str
    folder: Path

    @property
    def expected(self) -> dict[str, Any]:
        """The facts, from the script and the model server's own log."""
        loaded: dict[str, Any] = json.loads((self.folder / "expected.json").read_text())
        return loaded

    def requests(self) -> Iterator[tuple[bytes, str, str]]:
        """Each request to the traces endpoint: body as sent, content type, content encoding."""
        for request in json.loads((self.folder / "request.json").read_text())["requests"]:
            headers = {key.lower(): value for key, value in request["headers"].items()}
            body = (self.folder / request["file"]).read_bytes()
            yield body, headers["content-type"], headers.get("content-encoding", "identity")

    def logs(self) -> Iterator[tuple[bytes, str, str]]:
        """Each request to the logs endpoint: body as sent, content type, content encoding. All of them, or none."""
        others = json.loads((self.folder / "request.json").read_text()).get("other", ())
        requests = [request for request in others if request["path"].endswith("/logs")]
        if all("file" in request for request in requests):
            for request in requests:
                headers = {key.lower(): value for key, value in request["headers"].items()}
                body = (self.folder / request["file"]).read_bytes()
                yield body, headers["content-type"], headers.get("content-encoding", "identity")

    def bodies(self) -> Iterator[tuple[bytes, str]]:
        """Each request, decompressed: body and content type."""
        for body, content_type, encoding in self.requests():
            yield (gzip.decompress(body) if encoding == "gzip" else body), content_type


def captures() -> list[Capture]:
    """Every capture, in order."""
    return [
        Capture(f"{f.parent.parent.name}/{f.parent.name}", f.parent) for f in sorted(DATA.glob("*/*/expected.json"))
    ]
