"""Which charges are billed with which month, in SQL: the rows of FOCUS.

A charge of an open month is billed with its own month, in full detail. So is one of a closed month, as long as nothing
of its day, service, feature and model has changed since: then the row that was closed stands for all of them, without
the details, and what changed is a correction that is billed with a later month.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentops.billing.charges import DIFFERENCES, KEYS, MEASURES
from agentops.billing.statements import calendar, changed_days, of_days
from agentops.catalog.queries import ownership
from agentops.costs.models import MEASURES as SPEND_MEASURES
from agentops.costs.sources import SpendFilters
from agentops.costs.spans import CHARGE_KEYS, charge_days, charges

#: What closed charges cannot be asked for.
_DETAILS = ("user", "session", "release", "agent")
_EMPTY = {"price_source": "0", "is_estimate": "false"}
_KEYS = ", ".join(KEYS)
_SAME = " AND ".join(f"x.{key} = c.{key}" for key in ("day", *KEYS))
_ROW = ", ".join(
    [
        "c.day::timestamp AT TIME ZONE 'UTC' AS day",
        *(f'{f"c.{name}" if name in KEYS else _EMPTY.get(name, repr(""))} AS "{name}"' for name in CHARGE_KEYS),
        *(f"c.{m}" if m in MEASURES else "0" for m in SPEND_MEASURES),
    ]
)
_KNOWN = "(c.cost_nano <> 0 OR (c.unpriced_calls = 0 AND c.input_tokens + c.output_tokens <> 0))"
_IN_RANGE = "c.day >= %(first_day)s AND c.day < %(last_day)s"
#: Charges alone, while nothing is closed.
OPEN = """
SELECT c.*, date_trunc('month', day, 'UTC') AS month, false AS is_correction, NULL AS team FROM ({charges}) AS c
"""
#: ``recognised`` and ``pending`` are corrections; ``{matching}`` are conditions on charges ``c``.
CLOSED = f"""
WITH pending AS MATERIALIZED (
    {DIFFERENCES}
), recognised AS MATERIALIZED (
    SELECT c.*, k.month FROM billing_charge AS c JOIN billing_closing AS k ON k.id = c.closing_id
    WHERE date_trunc('month', c.day::timestamp)::date <> k.month
), changed AS MATERIALIZED (
    SELECT day, {_KEYS} FROM pending UNION SELECT day, {_KEYS} FROM recognised
)
SELECT c.*, date_trunc('month', day, 'UTC') AS month, false AS is_correction, NULL AS team FROM ({{charges}}) AS c
WHERE NOT EXISTS (SELECT FROM changed AS x WHERE x.day = (c.day AT TIME ZONE 'UTC')::date
    AND {" AND ".join(f"x.{key} = c.{key}" for key in KEYS)})
UNION ALL
SELECT {_ROW}, k.month::timestamp AT TIME ZONE 'UTC', false, c.team
FROM billing_charge AS c JOIN billing_closing AS k ON k.id = c.closing_id
WHERE date_trunc('month', c.day::timestamp)::date = k.month AND {_IN_RANGE} AND {_KNOWN} {{matching}}
    AND EXISTS (SELECT FROM changed AS x WHERE {_SAME})
UNION ALL
SELECT {_ROW}, c.month::timestamp AT TIME ZONE 'UTC', true, c.team FROM recognised AS c
WHERE c.month >= %(first_day)s AND c.month < %(last_day)s AND {_KNOWN} {{matching}}
UNION ALL
SELECT {_ROW}, %(next_open)s::timestamp AT TIME ZONE 'UTC', true, NULL FROM pending AS c
WHERE %(next_open)s >= %(first_day)s AND %(next_open)s < %(last_day)s AND {_KNOWN} {{matching}}
"""


@dataclass(frozen=True, slots=True)
class Billed:
    """A SELECT of ``(day, *CHARGE_KEYS, *SPEND_MEASURES, month, is_correction, team)``, ordered, with parameters."""

    sql: str
    parameters: dict[str, Any]


def billed(filters: SpendFilters, from_: datetime, until: datetime, *, kept_since: datetime, now: datetime) -> Billed:
    """What is billed of the days that a range touches, and corrections that are billed with months that begin in it.

    Filters by what closed charges know nothing of get the details as they are now, without corrections.
    """
    known, owners = calendar(now=now), ownership()
    source = charges(filters, from_, until, kept_since=kept_since, owners=owners)
    order = ", ".join(f'"{name}"' for name in ("month", "day", *CHARGE_KEYS))
    if known.last_closed is None or any(getattr(filters, name) for name in _DETAILS):
        return Billed(f"SELECT * FROM ({OPEN.format(charges=source.sql)}) AS b ORDER BY {order}", source.parameters)
    first, last = charge_days(from_, until)
    sql = CLOSED.format(charges=source.sql, matching=_matching(filters))
    parameters = source.parameters | of_days(changed_days(known))
    parameters |= {"first_day": first.date(), "last_day": last.date(), "next_open": known.next_open}
    return Billed(f"SELECT * FROM ({sql}) AS b ORDER BY {order}", parameters)


def _matching(filters: SpendFilters) -> str:
    """Conditions that closed charges ``c`` pass, with the parameters of any source."""
    conditions = [
        f"c.{name} = ANY(%({name})s)" for name in ("service", "feature", "model", "tool") if getattr(filters, name)
    ]
    conditions += ["c.environment = %(environment)s"] if filters.environment else []
    conditions += ["c.service = ANY(%(services)s)"] if filters.team else []
    return "".join(f" AND {condition}" for condition in conditions)
