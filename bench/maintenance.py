"""What the benchmark needs of the product itself: partitions of past days, their close, and the whole reconciliation.

python -m bench.maintenance partitions|close|reconcile    with the environment of an instance; prints a JSON object
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
django.setup()

from django.db import connection  # noqa: E402  (Django must be set up first)

from agentops.costs import fold as folding  # noqa: E402
from agentops.costs.books import reconcile  # noqa: E402
from agentops.costs.windows import close_days  # noqa: E402
from agentops.runs import partitions  # noqa: E402

_DAYS = 100


def main() -> None:
    """Do one of them."""
    now = datetime.now(UTC)
    if sys.argv[1] == "partitions":
        have = partitions.existing()
        missing = [day for back in range(_DAYS) if (day := now.date() - timedelta(days=back)) not in have]
        for day in missing:
            partitions._make(day)
        print(json.dumps({"made": len(missing)}))
        return
    if sys.argv[1] == "close":
        moved = close_days(now=now)
        while _is_unfolded():  # the worker may be at it too
            moved += folding.fold(now=now)
        print(json.dumps({"moved": moved}))
        return
    found = reconcile(now=now, whole=True)
    print(json.dumps({"spans": found.spans, "findings": found.findings, "ms": found.duration_ms}))


def _is_unfolded() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM spend_journal)")
        return bool(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
