"""Tables as CSV files: no cell that a spreadsheet takes for a formula, and sent row by row, however long they are."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

LINES_AT_ONCE = 500
#: What a spreadsheet takes for a formula when a cell starts with it; full-width ones count too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe_cell(text: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula: with an apostrophe before what would be one."""
    return f"'{text}" if text and text.startswith(FORMULA) else text or ""


def csv_file(
    request: HttpRequest, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> StreamingHttpResponse:
    """A file to download; whoever makes the rows sees to it that their texts are safe cells."""
    writer = csv.writer(_Echo())

    def texts() -> Iterator[str]:
        yield writer.writerow(header)
        remaining = iter(rows)
        while lines := [writer.writerow(row) for row in islice(remaining, LINES_AT_ONCE)]:
            yield "".join(lines)

    # An ASGI server would collect a plain iterator before it sends the first byte.
    content = _in_thread(texts()) if isinstance(request, ASGIRequest) else texts()
    answer = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


class _Echo:
    def write(self, value: str) -> str:
        return value


async def _in_thread(texts: Iterator[str]) -> AsyncIterator[str]:
    following = sync_to_async(lambda: next(texts, None))
    while (text := await following()) is not None:
        yield text
