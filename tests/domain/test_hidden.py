"""Whether a model was told of a failure."""

from __future__ import annotations

import pytest

from agentops.domain.hidden import Failure, is_hidden, words_of

ERROR = "psycopg.OperationalError: could not translate host name ledger-replica to address"
FAILURE = Failure(b"span", "analyst", "query_ledger", 10, words_of(ERROR))
ASKED, CALLED = ("user", "How much did we spend?"), ("assistant", "I ask the ledger.")


def judged(*messages: tuple[str, str], failure: Failure = FAILURE) -> bool | None:
    return is_hidden(failure, [{"role": role} for role, _ in messages], [text for _, text in messages])


@pytest.mark.parametrize(
    "told",
    [
        ("tool", ERROR),
        ("tool", "Error: no connection"),
        ("user", "The tool call failed. Go on without it."),
        ("tool", "HTTP 503"),
        ("tool", "Timed out."),
    ],
)
def test_who_is_told_of_a_failure_in_whichever_words_was_told(told: tuple[str, str]) -> None:
    assert judged(ASKED, CALLED, told) is False


@pytest.mark.parametrize("placeholder", [("tool", ""), ("tool", "retrying…"), ("user", "Go on."), ("tool", "[]")])
def test_a_placeholder_where_the_failure_would_stand_hides_it(placeholder: tuple[str, str]) -> None:
    assert judged(ASKED, CALLED, placeholder) is True


def test_a_failure_that_was_cut_out_of_the_history_is_hidden() -> None:
    assert judged(ASKED, CALLED, ("user", "What about last month?")) is True


def test_rules_that_speak_of_errors_tell_nobody_of_this_one() -> None:
    rules = ("system", "If an error occurs, say so. Failures must be reported.")
    assert judged(rules, ASKED, CALLED, ("tool", "retrying…")) is True


def test_a_failure_told_further_up_was_told() -> None:
    assert judged(ASKED, CALLED, ("tool", ERROR), ("assistant", "The ledger is away."), ("user", "And now?")) is False


def test_what_holds_no_history_tells_nothing() -> None:
    assert judged() is None
    assert judged(ASKED) is None
    assert judged(ASKED, ("user", "please")) is None


def test_nothing_is_said_of_an_error_without_words() -> None:
    assert judged(ASKED, CALLED, ("tool", "retrying…"), failure=FAILURE._replace(words=())) is None
    assert words_of("") == ()
    assert words_of("a b c 12") == ()
