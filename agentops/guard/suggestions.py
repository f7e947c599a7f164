"""Names that the form of a ceiling offers: what spent most of late, from the rollups."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from agentops.costs.models import Dimension

#: Names of each kind that are offered, and of how many days.
MOST, DAYS = 50, 7
_KINDS = {Dimension.FEATURE: "features", Dimension.USER: "users"}

# A name of many keys is looked for in the days that are not over yet: these are few.
NAMES = f"""
SELECT dimension, key FROM (
    SELECT dimension, key, row_number() OVER (PARTITION BY dimension ORDER BY sum(cost_nano) DESC, key) AS place
    FROM spend_daily WHERE start >= %s AND key <> '' AND dimension = ANY(%s) GROUP BY dimension, key
) AS ranked WHERE place <= {MOST}
"""
ENVIRONMENTS = "SELECT DISTINCT environment FROM spend_daily WHERE dimension = %s AND start >= %s ORDER BY 1 LIMIT 50"


def known_values(*, now: datetime) -> dict[str, list[str]]:
    """Features, users and environments that a form may offer."""
    since = (now - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    found: dict[str, list[str]] = {name: [] for name in _KINDS.values()}
    with connection.cursor() as cursor:
        cursor.execute(NAMES, [since, [int(kind) for kind in _KINDS]])
        for dimension, key in cursor.fetchall():
            found[_KINDS[Dimension(dimension)]].append(key)
        cursor.execute(ENVIRONMENTS, [int(Dimension.SERVICE), since])
        found["environments"] = [name for (name,) in cursor.fetchall() if name]
    return {name: sorted(values) for name, values in found.items()}
