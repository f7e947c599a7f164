"""What is asked of services: who owns them."""

from __future__ import annotations

from dataclasses import dataclass

from agentops.catalog.models import Service


@dataclass(frozen=True, slots=True)
class Ownership:
    """A service's team and owner, ``None`` where there is none."""

    service: str
    team: str | None
    owner: str | None

    @property
    def is_owned(self) -> bool:
        """Whether anybody answers for it."""
        return self.team is not None or self.owner is not None


def ownership() -> dict[str, Ownership]:
    """Every service's team and owner, by its slug. One statement."""
    rows = Service.objects.values_list("slug", "team__name", "owner__username")
    return {slug: Ownership(slug, team, owner) for slug, team, owner in rows}
