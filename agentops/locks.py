"""The database's advisory locks that this product takes: each has its own number, so that only who means to waits."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """What is done by one transaction at a time. The numbers are arbitrary, and stay as they are."""

    #: Held until the commit, so that ids of events become visible in their order.
    EVENTS = 4206901
    #: Shared by whoever books or grants, alone for who decides about ceilings. A function of the database takes it too.
    CEILINGS = 4206902
    PRICE_BOOK = 4206903
    ATTRIBUTION_RULES = 4206904
    #: With a second number, of a kind and service.
    ALERTS = 4206905
    WATCH = 4206906
    INVOICES = 4206907
    CLOSINGS = 4206908
    WATCH_RULES = 4206910
