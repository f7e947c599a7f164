"""Keys and tokens: shown once, stored as digests, refused as soon as they have ended."""

from __future__ import annotations

import hmac
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agentops.accounts import keys
from agentops.accounts.actions import (
    authenticate_ingest_key,
    authenticate_token,
    create_ingest_key,
    create_token,
    note_use,
    revoke_ingest_key,
)
from agentops.accounts.models import ApiToken, IngestKey, User
from agentops.ingest.gate import Gate

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada")


def test_a_key_opens_what_it_was_made_for(user: User) -> None:
    text = create_ingest_key(name="ci", service=" bot ", created_by=user)
    key = authenticate_ingest_key(text)
    assert key is not None
    assert (key.name, key.service, key.created_by) == ("ci", "bot", user)
    token = authenticate_token(create_token(user=user, scope="write", name="laptop"))
    assert token is not None
    assert (token.user, token.scope, token.name) == (user, "write", "laptop")


def test_what_is_stored_does_not_open_anything(user: User) -> None:
    text, token = create_ingest_key(name=""), create_token(user=user, scope="read")
    for whole, row in ((text, IngestKey.objects.values().get()), (token, ApiToken.objects.values().get())):
        secret = whole.split("_", 2)[2]
        assert len(secret) == 43
        assert secret not in repr(row)
        assert secret.encode() not in bytes(row["digest"])
    assert str(IngestKey.objects.get()).startswith(text[:16])
    assert text.split("_", 2)[2] not in str(IngestKey.objects.get())


def test_no_two_keys_are_alike() -> None:
    texts = {create_ingest_key(name="") for _ in range(50)}
    assert len({text.split("_", 2)[1] for text in texts}) == 50


def test_the_digest_depends_on_the_secret_key_of_the_house(settings: Any) -> None:
    text = create_ingest_key(name="")
    assert authenticate_ingest_key(text) is not None
    settings.SECRET_KEY = "another house"
    assert authenticate_ingest_key(text) is None


@pytest.mark.parametrize("change", [{"revoked_at": -1}, {"expires_at": -1}, {"expires_at": 0}])
def test_an_ended_key_opens_nothing(change: dict[str, int], user: User) -> None:
    text, token = create_ingest_key(name=""), create_token(user=user, scope="read")
    moments = {name: timezone.now() + timedelta(seconds=seconds) for name, seconds in change.items()}
    IngestKey.objects.update(**moments)
    ApiToken.objects.update(**moments)
    assert authenticate_ingest_key(text) is None
    assert authenticate_token(token) is None


def test_a_key_that_will_end_is_good_until_then(user: User) -> None:
    text, token = create_ingest_key(name=""), create_token(user=user, scope="read")
    for model in (IngestKey, ApiToken):
        model.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert authenticate_ingest_key(text)
    assert authenticate_token(token)


def test_revoking_ends_a_key_and_revoking_again_keeps_the_first_moment() -> None:
    text = create_ingest_key(name="")
    first = revoke_ingest_key(key=IngestKey.objects.get()).revoked_at
    assert authenticate_ingest_key(text) is None
    assert revoke_ingest_key(key=IngestKey.objects.get()).revoked_at == first


def test_a_token_of_somebody_who_left_opens_nothing(user: User) -> None:
    token = create_token(user=user, scope="read")
    User.objects.update(is_active=False)
    assert authenticate_token(token) is None


def test_keys_and_tokens_do_not_open_each_others_doors(user: User) -> None:
    text, token = create_ingest_key(name=""), create_token(user=user, scope="write")
    assert authenticate_token(text) is None
    assert authenticate_ingest_key(token) is None
    assert authenticate_ingest_key(token.replace("agt_", "agk_")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agk",
        "agk__",
        "agk_" + "0" * 12 + "_",
        "x" * 10_000,
        "agk_" + "0" * 12 + "_" + "A" * 44,
        "agk_\x00_\x00",
        "é",
    ],
)
def test_what_does_not_look_like_a_key_is_none(text: str) -> None:
    assert authenticate_ingest_key(text) is None
    assert authenticate_token(text) is None


@pytest.mark.parametrize("at", [4, 16, 20, -1])
def test_one_wrong_character_is_enough(at: int) -> None:
    text = create_ingest_key(name="")
    wrong = "a" if text[at] != "a" else "b"
    assert authenticate_ingest_key(text[:at] + wrong + text[at:][1:]) is None


def test_an_unknown_id_is_compared_as_a_known_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def noting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", noting)
    create_ingest_key(name="")
    known = IngestKey.objects.get().key_id
    for key_id in (known, "0" * 12):
        assert authenticate_ingest_key(f"agk_{key_id}_{'A' * 43}") is None
    assert [len(one) == len(other) == 32 for one, other in compared] == [True, True]


def test_no_secret_matches_an_absent_digest() -> None:
    assert not keys.matches("", None)
    assert keys.matches("secret", keys.digest("secret"))


@pytest.mark.django_db(transaction=True)  # the gate closes its connection
def test_use_is_noted_at_most_once_a_minute() -> None:
    text = create_ingest_key(name="")
    clock = [0.0]
    gate = Gate(clock=lambda: clock[0])
    moments = []
    for clock[0] in (0.0, 30.0, 59.0, 60.0):
        gate._look_up(text)
        moments.append(IngestKey.objects.get().last_used_at)
    assert moments[0] is not None
    assert moments[0] == moments[1] == moments[2] < moments[3]


def test_noting_the_use_of_one_key_leaves_the_others() -> None:
    create_ingest_key(name="one")
    create_ingest_key(name="two")
    note_use(key_id=IngestKey.objects.get(name="one").key_id)
    assert IngestKey.objects.get(name="two").last_used_at is None


def run(*arguments: str) -> list[str]:
    """The lines that a command prints."""
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().splitlines()


def test_the_command_prints_a_key_of_a_service_alone_on_the_last_line() -> None:
    key = authenticate_ingest_key(run("create_ingest_key", "--service", "bot", "--name", "ci")[-1])
    assert key is not None
    assert (key.service, key.name) == ("bot", "ci")


def test_a_long_service_gets_its_key() -> None:
    key = authenticate_ingest_key(run("create_ingest_key", "--service", "x" * 128)[-1])
    assert key is not None
    assert key.service == "x" * 128


def test_the_command_prints_a_key_of_a_collector() -> None:
    key = authenticate_ingest_key(run("create_ingest_key", "--collector")[-1])
    assert key is not None
    assert key.service == ""


@pytest.mark.parametrize(
    "arguments", [[], ["--collector", "--service", "bot"], ["--service", " "], ["--service", "x" * 129]]
)
def test_a_key_is_for_a_service_or_for_a_collector(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run("create_ingest_key", *arguments)
    assert not IngestKey.objects.exists()


def test_the_command_prints_a_token(user: User) -> None:
    token = authenticate_token(run("create_token", "--user", "ada", "--scope", "write")[-1])
    assert token is not None
    assert (token.user, token.scope) == (user, "write")
    read = authenticate_token(run("create_token", "--user", "ada")[-1])
    assert read is not None
    assert read.scope == "read"


def test_no_token_for_somebody_who_is_not_there(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    for name in ("nobody", "ada"):
        with pytest.raises(CommandError, match=name):
            run("create_token", "--user", name)
