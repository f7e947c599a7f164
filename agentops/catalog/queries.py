"""What is asked of services: what they are called, and who answers for them."""

from __future__ import annotations

from dataclasses import dataclass

from agentops.catalog.models import Service

#: Services that a form offers; whoever wants another one types it.
MAX_OFFERED = 500


@dataclass(frozen=True, slots=True)
class Ownership:
    """A service's team (its slug and its name) and owner (a user name), ``None`` where there is none."""

    service: str
    team: str | None
    team_name: str | None
    owner: str | None

    @property
    def is_owned(self) -> bool:
        """Whether anybody answers for it."""
        return self.team is not None or self.owner is not None

    @property
    def words(self) -> str:
        """Who answers for it, for a table; empty for nobody."""
        return " · ".join(part for part in (self.team_name, self.owner) if part)


def list_names() -> list[str]:
    """The slugs of services that a form offers, in their order."""
    return list(Service.objects.order_by("slug").values_list("slug", flat=True)[:MAX_OFFERED])


def ownership() -> dict[str, Ownership]:
    """Every service's team and owner, by its slug. One statement."""
    rows = Service.objects.values_list("slug", "team__slug", "team__name", "owner__username")
    return {slug: Ownership(slug, team, team_name, owner) for slug, team, team_name, owner in rows}
