"""What was decided is known within seconds, and while the database is away as it was last."""

from __future__ import annotations

import pytest
from django.db import DatabaseError

from agentops.current import FRESH_SECONDS, Current


class Decisions:
    """A revision that changes, a clock that is set, and what was asked."""

    def __init__(self) -> None:
        self.revision, self.now, self.loads, self.is_away = 1, 100.0, list[int](), False

    def latest(self) -> int:
        if self.is_away:
            raise DatabaseError
        return self.revision

    def load(self, revision: int) -> str:
        self.loads.append(revision)
        return f"at {revision}"

    def current(self) -> Current[str]:
        return Current(self.latest, self.load, clock=lambda: self.now)


@pytest.fixture
def decisions(db: None) -> Decisions:
    return Decisions()


def test_a_change_is_known_when_it_was_looked_for_again(decisions: Decisions) -> None:
    current = decisions.current()
    assert current.get() == "at 1"
    decisions.revision = 2
    decisions.now += FRESH_SECONDS - 0.1
    assert current.get() == "at 1"
    decisions.now += 0.1
    assert current.get() == "at 2"
    decisions.now += FRESH_SECONDS
    assert current.get() == "at 2"
    assert decisions.loads == [1, 2]


def test_while_the_database_is_away_it_is_as_it_was_last(decisions: Decisions) -> None:
    current = decisions.current()
    current.get()
    decisions.is_away, decisions.revision = True, 2
    decisions.now += 10 * FRESH_SECONDS
    assert current.get() == "at 1"
    decisions.is_away = False
    decisions.now += FRESH_SECONDS
    assert current.get() == "at 2"


def test_what_could_never_be_read_is_not_made_up(decisions: Decisions) -> None:
    current = decisions.current()
    decisions.is_away = True
    with pytest.raises(DatabaseError):
        current.get()
    decisions.is_away = False
    assert current.get() == "at 1"
