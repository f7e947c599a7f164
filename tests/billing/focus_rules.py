"""What FOCUS 1.4 asks of a *Cost and Usage* dataset, as far as it concerns usage that is billed by the token.

One table of columns (level, type, whether empty is allowed, allowed values) and the rules between columns, written
after the specification. The public validator brings rules up to 1.2 along and fetches later ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

Row = Mapping[str, str]
#: As CSV has it: an empty field is NULL.
_TYPES = {
    "Decimal": re.compile(r"-?\d+(\.\d+)?"),
    "Date/Time": re.compile(r"\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"),
    "String": re.compile(r"(?s).*\S.*"),
    "JSON": re.compile(r"\{.*\}"),
}


@dataclass(frozen=True)
class Column:
    """A row of the specification's table of columns."""

    level: Literal["mandatory", "conditional", "recommended"]
    type: Literal["Decimal", "Date/Time", "String", "JSON"]
    nullable: bool
    allowed: tuple[str, ...] = ()


_MUST, _IF, _MAY = "mandatory", "conditional", "recommended"
#: The conditions that hold: usage measurement, unit pricing, sub accounts.
COLUMNS = {
    "BilledCost": Column(_MUST, "Decimal", False),
    "BillingAccountId": Column(_MUST, "String", False),
    "BillingAccountName": Column(_MUST, "String", True),
    "BillingCurrency": Column(_MUST, "String", False, ("USD",)),
    "BillingPeriodEnd": Column(_MUST, "Date/Time", False),
    "BillingPeriodStart": Column(_MUST, "Date/Time", False),
    "ChargeCategory": Column(_MUST, "String", False, ("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    "ChargeClass": Column(_MUST, "String", True, ("Correction",)),
    "ChargeDescription": Column(_MUST, "String", True),
    "ChargeFrequency": Column(_MAY, "String", False, ("One-Time", "Recurring", "Usage-Based")),
    "ChargePeriodEnd": Column(_MUST, "Date/Time", False),
    "ChargePeriodStart": Column(_MUST, "Date/Time", False),
    "ConsumedQuantity": Column(_IF, "Decimal", True),
    "ConsumedUnit": Column(_IF, "String", True),
    "ContractedCost": Column(_MUST, "Decimal", False),
    "EffectiveCost": Column(_MUST, "Decimal", False),
    "HostProviderName": Column(_MUST, "String", False),
    "InvoiceIssuerName": Column(_MUST, "String", False),
    "ListCost": Column(_MUST, "Decimal", False),
    "PricingCategory": Column(_MAY, "String", True, ("Standard", "Dynamic", "Committed", "Other")),
    "PricingQuantity": Column(_MUST, "Decimal", True),
    "PricingUnit": Column(_MUST, "String", True),
    "ServiceCategory": Column(_MUST, "String", False, ("AI and Machine Learning",)),
    "ServiceName": Column(_MUST, "String", False),
    "ServiceProviderName": Column(_MUST, "String", False),
    "ServiceSubcategory": Column(_MAY, "String", False, ("Generative AI",)),
    "SkuId": Column(_IF, "String", True),
    "SkuMeter": Column(_IF, "String", True),
    "SkuPriceDetails": Column(_IF, "JSON", True),
    "SkuPriceId": Column(_IF, "String", True),
    "SubAccountId": Column(_IF, "String", True),
    "SubAccountName": Column(_IF, "String", True),
}
#: Present in earlier versions and gone in this one.
REMOVED = ("ProviderName", "PublisherName")
_UNIT = re.compile(r"(\d+ )?[A-Z][a-zA-Z]*s(-[A-Z][a-zA-Z]*s)?")
_NAME = re.compile(r"([A-Z][a-z]+)+")


def _usage(row: Row) -> bool:
    return row["ChargeCategory"] in ("Usage", "Purchase") and row["ChargeClass"] != "Correction"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _is_month(row: Row) -> bool:
    start, end = _moment(row["BillingPeriodStart"]), _moment(row["BillingPeriodEnd"])
    following = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start == start.replace(day=1, hour=0, minute=0, second=0) and end == following


#: Rules between the columns of a row, by what they say.
RULES: dict[str, Callable[[Row], bool]] = {
    "a charge ends after it starts": lambda r: _moment(r["ChargePeriodStart"]) < _moment(r["ChargePeriodEnd"]),
    "a billing period is a month": _is_month,
    "a charge that is no correction lies in its billing period": lambda r: (
        r["ChargeClass"] == "Correction" or r["BillingPeriodStart"] <= r["ChargePeriodStart"] < r["BillingPeriodEnd"]
    ),
    "a correction is billed in a later period than it was incurred in": lambda r: (
        r["ChargeClass"] != "Correction" or r["ChargePeriodEnd"] <= r["BillingPeriodStart"]
    ),
    "usage names its SKU": lambda r: bool(r["SkuId"]) or not _usage(r),
    "usage names the price of its SKU": lambda r: bool(r["SkuPriceId"]) or not _usage(r),
    "usage has a pricing quantity": lambda r: bool(r["PricingQuantity"]) or not _usage(r),
    "usage has a consumed quantity": lambda r: bool(r["ConsumedQuantity"]) or not _usage(r),
    "usage has a pricing category": lambda r: bool(r["PricingCategory"]) or not _usage(r),
    "nothing has a quantity without the price of a SKU": lambda r: (
        bool(r["SkuPriceId"]) or not (r["PricingQuantity"] or r["ConsumedQuantity"] or r["PricingCategory"])
    ),
    "the price of a SKU has a SKU": lambda r: bool(r["SkuId"]) or not (r["SkuPriceId"] or r["SkuMeter"]),
    "a quantity has a unit, and a unit a quantity": lambda r: (
        bool(r["PricingQuantity"]) == bool(r["PricingUnit"]) and bool(r["ConsumedQuantity"]) == bool(r["ConsumedUnit"])
    ),
    "units are capitalised plurals": lambda r: all(
        not r[unit] or _UNIT.fullmatch(r[unit]) for unit in ("PricingUnit", "ConsumedUnit")
    ),
    "what is covered by no other charge costs effectively what is billed": lambda r: (
        Decimal(r["EffectiveCost"]) == Decimal(r["BilledCost"])
    ),
    "without negotiated prices the contracted cost is the list cost": lambda r: (
        Decimal(r["ContractedCost"]) == Decimal(r["ListCost"])
    ),
    "a sub account has a name, and a name an id": lambda r: bool(r["SubAccountId"]) == bool(r["SubAccountName"]),
    "usage is not purchased once": lambda r: r["ChargeCategory"] != "Usage" or r["ChargeFrequency"] == "Usage-Based",
}


def violations(header: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """Everything in a file that the specification does not allow."""
    found = _header_violations(header)
    if found:
        return found
    parents: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        found += [
            f"{number}: {name} {fault}" for name, column in COLUMNS.items() if (fault := _fault(column, row[name]))
        ]
        if not found:
            found += [f"{number}: {words}" for words, holds in RULES.items() if not holds(row)]
            if parents.setdefault(row["SkuPriceId"], row["SkuId"]) != row["SkuId"]:
                found.append(f"{number}: a price of two SKUs")
    return found


def _header_violations(header: Sequence[str]) -> list[str]:
    ours = [name for name in header if name.startswith("x_")]
    theirs = [name for name in header if not name.startswith("x_")]
    found = [f"{name} is missing" for name, column in COLUMNS.items() if column.level != _MAY and name not in header]
    found += [f"{name} is gone since 1.4" for name in REMOVED if name in header]
    found += [f"{name} is no column of the specification" for name in theirs if name not in COLUMNS]
    found += [f"{name} is there twice" for name in set(header) if header.count(name) > 1]
    found += [f"{name} is not in Pascal case" for name in ours if not _NAME.fullmatch(name[2:]) or len(name) > 50]
    if list(header) != sorted(theirs) + sorted(ours):
        found.append("columns are not in the order of their names, the specification's first")
    return found


def _fault(column: Column, text: str) -> str:
    if not text:
        return "" if column.nullable else "is empty"
    if not _TYPES[column.type].fullmatch(text):
        return f"is no {column.type}: {text!r}"
    return f"may not be {text!r}" if column.allowed and text not in column.allowed else ""
