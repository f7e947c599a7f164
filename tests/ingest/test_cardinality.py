"""A flood of made-up values is bounded, and no money is lost in it."""

from __future__ import annotations

from agentops.domain.spans import Kind, Span
from agentops.ingest.cardinality import OTHER, Cardinality


def _span(service: str, user: str) -> Span:
    span = Span(b"t" * 16, b"s" * 8, b"", service, Kind.LLM, "chat", "scope", 10**18, 10**18 + 1)
    span.attribution["user"] = (user, 0)
    return span


def test_users_beyond_the_limit_become_other_and_known_ones_stay() -> None:
    bounded = Cardinality(limits={"user": 3})
    seen = []
    for n in range(10):
        span = _span("a", f"user-{n}")
        bounded.bound(span, own_service=True)
        seen.append(span.attribution["user"][0])
    assert seen == ["user-0", "user-1", "user-2", *[OTHER] * 7]
    again = _span("a", "user-1")
    bounded.bound(again, own_service=True)
    assert again.attribution["user"][0] == "user-1"


def test_a_collector_cannot_make_up_services_without_end() -> None:
    bounded = Cardinality(max_services=2)
    services = []
    for n in range(4):
        span = _span(f"service-{n}", "u")
        bounded.bound(span, own_service=False)
        services.append(span.service)
    assert services == ["service-0", "service-1", OTHER, OTHER]


def test_what_one_process_remembers_of_all_services_is_bounded() -> None:
    bounded = Cardinality(limits={"user": 10}, max_values=25)
    for service in range(40):
        for user in range(12):
            bounded.bound(_span(f"service-{service}", f"user-{user}"), own_service=True)
            assert sum(map(len, bounded._seen.values())) <= 25
