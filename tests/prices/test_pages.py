"""The pages of the price book: what they show, and who may change what."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agentops.domain.pricebook import ANY_TIER, Alias, Entry, EntryKind, TokenPrices
from agentops.domain.spans import Kind
from agentops.jobs import JobState
from agentops.prices import repricing
from agentops.prices.actions import apply_dry_run, save_alias, save_entry, start_dry_run
from agentops.prices.models import BookRevision, PriceEntry, Repricing
from agentops.prices.store import entry_of
from agentops.runs.models import Span
from tests.costs.booking import START, book_runs

pytestmark = pytest.mark.django_db

GPT = Entry(0, 0, EntryKind.MODEL, "gpt-4o", tokens=(TokenPrices(input=Decimal("2.5"), output=Decimal(8)),))
NAMED = Alias(0, 0, "prod-chat", "openai", "gpt-4o", provider="azure")
MODEL_FORM = {
    "pattern": "our-llama", "provider": "vllm", "service": "support", "tier": "standard", "effective_from": "",
    "effective_until": "", "note": "GPU hours", "tokens-0-input": "0.25", "tokens-0-output": "1", "tokens-1-input": "",
    "tokens-1-above": "", "per_call_usd": "", "per_second_usd": "",
}  # fmt: skip


def text(answer: Any) -> str:
    page: str = answer.content.decode()
    return page


def test_a_price_is_entered_with_who_and_why_and_leads_to_its_page(admins_client: Client) -> None:
    answer = admins_client.post("/prices/new/?kind=model&name=our-llama", MODEL_FORM)
    assert (answer.status_code, answer["Location"]) == (302, "/prices/1/?name=our-llama")
    row = PriceEntry.objects.get()
    assert entry_of(row) == Entry(
        1, 1, EntryKind.MODEL, "our-llama", "vllm", "support",
        tokens=(TokenPrices(input=Decimal("0.25"), output=Decimal(1)),),
    )  # fmt: skip
    page = text(admins_client.get(answer["Location"]))
    for words in (
        "$0.25 in, $1 out, a million tokens",
        "book 1 v1",
        "GPU hours",
        "by ada",
        'value="our-llama"',
        "always",
    ):
        assert words in page


def test_discounts_and_tools_have_forms_of_their_own(admins_client: Client) -> None:
    discount = {"pattern": "*", "provider": "openai", "percent_off": "12.5", "tier": "any", "note": ""}
    tool = {"pattern": "web_search", "per_call_usd": "0.005", "per_second_usd": "0.001", "note": ""}
    assert admins_client.post("/prices/new/?kind=discount", discount).status_code == 302
    assert admins_client.post("/prices/new/?kind=tool", tool).status_code == 302
    first, second = map(entry_of, PriceEntry.objects.order_by("number"))
    assert (first.kind, first.percent_off, first.tier) == (EntryKind.DISCOUNT, Decimal("12.5"), ANY_TIER)
    assert (second.kind, second.per_call, second.per_second) == (EntryKind.TOOL, Decimal("0.005"), Decimal("0.001"))
    page = text(admins_client.get("/prices/"))
    for kind in EntryKind:
        assert f'href="/prices/new/?kind={kind}"' in page
    for words in ("every model", "12.5 % off the public price", "at openai", "$0.005 a call + $0.001 a second", "tool"):
        assert words in page


def test_a_price_by_the_length_of_the_context_is_entered_and_edited(admins_client: Client) -> None:
    long = MODEL_FORM | {"tokens-1-above": "200000", "tokens-1-input": "0.5", "tokens-1-output": "2"}
    admins_client.post("/prices/new/?kind=model", long)
    page = text(admins_client.get("/prices/1/edit/"))
    for words in ('value="200000"', 'name="tokens-2-input"', 'value="0.5"', 'name="version" value="1"'):
        assert words in page
    changed = long | {"tokens-1-input": "0.75", "version": "1", "note": "new contract"}
    assert admins_client.post("/prices/1/edit/", changed).status_code == 302
    assert entry_of(PriceEntry.objects.get(version=2)).tokens[1].input == Decimal("0.75")
    page = text(admins_client.get("/prices/1/"))
    for words in (
        "Version 2",
        "new contract",
        "<dt>tokens</dt>",
        "$0.5 in, $2 out, a million tokens above 200,000</del>",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pattern": "g*t"}, "at its end"),
        ({"tokens-0-output": ""}, "input and output"),
        ({"tokens-0-input": "", "tokens-0-output": ""}, "by its tokens, by the call or by the second"),
        ({"tokens-0-input": "-1"}, "greater than or equal to 0"),
        ({"tokens-1-input": "1", "tokens-1-output": "1"}, "Each length of context"),
        ({"effective_from": "2026-11-02T00:00", "effective_until": "2026-11-01T00:00"}, "ends before it begins"),
        ({"effective_from": "yesterday"}, "Enter a valid date/time"),
        ({"per_call_usd": "many"}, "Enter a number"),
    ],
)
def test_a_form_that_cannot_be_says_why_beside_what_was_typed(
    admins_client: Client, changes: dict[str, str], says: str
) -> None:
    answer = admins_client.post("/prices/new/?kind=model", MODEL_FORM | changes)
    assert answer.status_code == 422
    assert says in text(answer)
    assert 'value="support"' in text(answer)
    assert not BookRevision.objects.exists()


def test_who_edits_an_older_version_is_told(admins_client: Client) -> None:
    save_entry(entry=replace(save_entry(entry=GPT, by=None), service="sales"), by=None)
    answer = admins_client.post("/prices/1/edit/", MODEL_FORM | {"version": "1"})
    assert answer.status_code == 422
    assert "look at version 2 first" in text(answer)


def test_what_is_to_be_priced_fills_the_form(admins_client: Client) -> None:
    page = text(admins_client.get("/prices/new/?kind=model&pattern=our-llama&provider=vllm&service=support"))
    for value in ("our-llama", "vllm", "support"):
        assert f'value="{value}"' in page


@pytest.mark.parametrize("at", ["/prices/", "/prices/mapping/"])
def test_what_ends_or_is_withdrawn_says_so_and_comes_back_as_another_version(admins_client: Client, at: str) -> None:
    save_entry(entry=GPT, by=None)
    save_alias(alias=NAMED, by=None)
    assert "in force" in text(admins_client.get(at))
    assert admins_client.post(f"{at}1/end", {"version": "1"}).status_code == 302
    assert "ended" in text(admins_client.get(at))
    later = (timezone.now() + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M")
    admins_client.post(f"{at}1/end", {"version": "2", "until": later})
    assert "in force" in text(admins_client.get(at))
    admins_client.post(f"{at}1/withdraw", {"version": "2"})
    assert "look at version 3 first" in text(admins_client.get(at))
    admins_client.post(f"{at}1/withdraw", {"version": "3"})
    page = text(admins_client.get(f"{at}1/"))
    assert "withdrawn" in page
    assert "Bring it back" in page


def test_a_name_is_mapped_edited_and_listed(admins_client: Client) -> None:
    form = {
        "pattern": "prod-chat",
        "provider": "azure",
        "means_model": "gpt-4o",
        "means_provider": "openai",
        "note": "",
    }
    answer = admins_client.post("/prices/mapping/new/", form)
    assert answer["Location"] == "/prices/mapping/1/"
    admins_client.post("/prices/mapping/1/edit/", form | {"means_model": "gpt-5", "version": "1"})
    for words in ("Version 2", "<dt>stands for, model</dt>", "gpt-4o</del> gpt-5"):
        assert words in text(admins_client.get("/prices/mapping/1/"))
    page = text(admins_client.get("/prices/mapping/"))
    assert "gpt-5" in page
    assert "at azure" in page
    wrong = admins_client.post("/prices/mapping/new/", form | {"means_model": "prod-chat"})
    assert "needs no mapping" in text(wrong)


@pytest.mark.parametrize(
    "path",
    [
        "new/",
        "1/edit/",
        "1/end",
        "1/withdraw",
        "mapping/new/",
        "mapping/1/edit/",
        "mapping/1/end",
        "mapping/1/withdraw",
    ],
)
def test_only_admins_change_the_book(viewers_client: Client, path: str) -> None:
    save_entry(entry=GPT, by=None)
    save_alias(alias=NAMED, by=None)
    assert viewers_client.post(f"/prices/{path}", MODEL_FORM | {"version": "1"}).status_code == 403
    assert BookRevision.objects.count() == 2
    if path.endswith("/"):
        assert viewers_client.get(f"/prices/{path}").status_code == 403


def test_everybody_may_look_and_is_offered_nothing_that_is_not_theirs(viewers_client: Client) -> None:
    save_entry(entry=GPT, by=None)
    save_alias(alias=NAMED, by=None)
    book_runs([1])
    job = start_dry_run(from_at=START, until_at=START + timedelta(days=9), by=None)
    repricing.work(job.pk)
    addresses = ("", "1/", "mapping/", "mapping/1/", "unpriced/?range=90d", "repricing/", f"repricing/{job.pk}/")
    for address in addresses:
        answer = viewers_client.get(f"/prices/{address}")
        assert answer.status_code == 200
        for offer in (
            "Price these",
            "New version",
            "Dry run</button>",
            ">Apply to the books</button>",
            "/prices/new/",
            "End it",
        ):
            assert offer not in text(answer), (address, offer)
    assert Client().get("/prices/").status_code == 302


def test_what_is_not_there_is_not_found(admins_client: Client) -> None:
    for address in ("1/", "1/edit/", "mapping/1/", "repricing/1/"):
        assert admins_client.get(f"/prices/{address}").status_code == 404


@pytest.mark.parametrize("address", ["", "mapping/", "repricing/"])
def test_lists_take_as_many_queries_whatever_their_length(admins_client: Client, address: str) -> None:
    counts = []
    for more in (1, 20):
        for n in range(more):
            save_entry(entry=replace(GPT, pattern=f"model-{n}"), by=None)
            save_alias(alias=replace(NAMED, pattern=f"name-{more}-{n}"), by=None)
            start_dry_run(from_at=START, until_at=START + timedelta(days=9), by=None)
        with CaptureQueriesContext(connection) as asked:
            assert admins_client.get(f"/prices/{address}").status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 6


# --- Re-pricing


def dry_run() -> Repricing:
    job = start_dry_run(from_at=START - timedelta(days=1), until_at=START + timedelta(days=9), by=None)
    repricing.work(job.pk)
    job.refresh_from_db()
    return job


def test_a_dry_run_is_asked_for_watched_applied_and_its_application_watched(
    admins_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repricing, "KNOWN_EVERYWHERE", timedelta(0))
    book_runs(range(4))
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    form = {"from_at": "2025-11-20T00:00", "until_at": "2025-12-10T00:00", "service": "", "provider": "", "name": ""}
    answer = admins_client.post("/prices/repricing/", form)
    job = Repricing.objects.get()
    assert answer["Location"] == f"/prices/repricing/{job.pk}/"
    page = text(admins_client.get(answer["Location"]))
    assert "waiting" in page
    assert "Cancel" in page
    repricing.work(job.pk)
    page = text(admins_client.get(answer["Location"], headers={"HX-Request": "true"}))
    assert "<html" not in page
    for words in ("By month and service", "Nov 2025", "service-0", "gpt-4o", ">Apply to the books</button>", "done"):
        assert words in page
    answer = admins_client.post(f"/prices/repricing/{job.pk}/apply")
    application = Repricing.objects.get(dry_run=job)
    assert answer["Location"] == f"/prices/repricing/{application.pk}/"
    assert application.requested_by is not None
    repricing.work(application.pk)
    page = text(admins_client.get(answer["Location"]))
    assert "booked as adjustments" in page
    assert "It was applied already." in text(admins_client.get(f"/prices/repricing/{job.pk}/"))
    listed = text(admins_client.get("/prices/repricing/"))
    assert listed.index(f"Application {application.pk}") < listed.index(f"Dry run {job.pk}")


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"from_at": "2025-12-10T00:00", "until_at": "2025-11-10T00:00"}, "ends before it begins"),
        ({"from_at": "", "until_at": "2025-11-10T00:00"}, "required"),
    ],
)
def test_a_period_that_is_none_is_refused(admins_client: Client, form: dict[str, str], says: str) -> None:
    answer = admins_client.post("/prices/repricing/", form)
    assert answer.status_code == 422
    assert says in text(answer)


def test_a_job_says_how_far_it_is_and_is_cancelled(admins_client: Client) -> None:
    job = start_dry_run(from_at=START, until_at=START + timedelta(days=9), by=None)
    Repricing.objects.filter(pk=job.pk).update(
        state=JobState.RUNNING, reported_at=timezone.now(), done=3, total=12, is_collected=True
    )
    page = text(admins_client.get(f"/prices/repricing/{job.pk}/"))
    assert 'value="25.0"' in page
    assert "3 of 12 runs" in page
    assert admins_client.post(f"/prices/repricing/{job.pk}/cancel").status_code == 302
    assert "stopping" in text(admins_client.get(f"/prices/repricing/{job.pk}/"))


def test_only_admins_reprice(viewers_client: Client) -> None:
    book_runs([1])
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    job = dry_run()
    for action in ("apply", "cancel"):
        assert viewers_client.post(f"/prices/repricing/{job.pk}/{action}").status_code == 403
    assert viewers_client.post("/prices/repricing/", {"from_at": "2025-01-01T00:00"}).status_code == 403
    assert Repricing.objects.count() == 1


def test_what_cannot_be_applied_says_why(admins_client: Client) -> None:
    job = dry_run()
    assert "Nothing would change" in text(admins_client.get(f"/prices/repricing/{job.pk}/"))
    answer = admins_client.post(f"/prices/repricing/{job.pk}/apply", follow=True)
    assert "Nothing would change." in text(answer)
    answer = admins_client.post(f"/prices/repricing/{job.pk}/cancel", follow=True)
    assert "It was over already." in text(answer)


def test_the_period_that_is_offered_takes_in_this_very_minute(admins_client: Client) -> None:
    save_entry(entry=GPT, by=None)
    for address in ("/prices/1/", "/prices/repricing/"):
        before = timezone.now()
        page = text(admins_client.get(address))
        offered = re.search(r'name="until_at" value="([^"]+)"', page)
        assert offered is not None
        assert datetime.fromisoformat(offered[1]).replace(tzinfo=UTC) > before


def test_a_price_that_only_comes_later_offers_no_repricing(admins_client: Client) -> None:
    later = int((datetime.now(UTC) + timedelta(days=2)).timestamp()) * 10**9
    save_entry(entry=replace(GPT, from_ns=later), by=None)
    page = text(admins_client.get("/prices/1/"))
    assert "to come" in page
    assert "Dry run</button>" not in page


def test_an_application_that_goes_on_is_no_reason_to_apply_twice(admins_client: Client) -> None:
    book_runs([1])
    save_entry(entry=replace(GPT, pattern="*"), by=None)
    job = dry_run()
    apply_dry_run(dry_run=job, by=None)
    assert "It was applied already." in text(admins_client.post(f"/prices/repricing/{job.pk}/apply", follow=True))


@pytest.mark.parametrize("by", ["tool", "model", "agent"])
def test_what_tools_cost_stands_in_tables_that_sum_to_their_total(
    admins_client: Client, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(repricing, "KNOWN_EVERYWHERE", timedelta(0))
    book_runs(range(16))
    save_entry(entry=Entry(0, 0, EntryKind.TOOL, "search", per_call=Decimal("0.005")), by=None)
    repricing.work(apply_dry_run(dry_run=dry_run(), by=None).pk)
    asked = {"by": by, "range": "custom", "from": (START - timedelta(days=1)).isoformat()}
    page = text(admins_client.get("/spend/", asked | {"until": (START + timedelta(days=3)).isoformat()}))
    costs = re.findall(r'<tr( data-row| class="total").*?data-label="Cost"[^>]*title="\$([\d,.]+)"', page, re.DOTALL)
    listed = [Decimal(cost) for css, cost in costs if css == " data-row"]
    (total,) = (Decimal(cost) for css, cost in costs if css != " data-row")
    assert len(listed) > 1
    assert sum(listed) == total
    if by == "tool":
        calls = Span.objects.filter(kind=Kind.TOOL, tool="search", merged_into=None).count()
        assert calls * Decimal("0.005") in listed
