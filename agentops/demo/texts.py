"""What simulated people ask, what agents answer, and what tools are called with. Tables, and one way to fill them."""

from __future__ import annotations

import random
import re

from agentops.domain import clarifications

_WORDS: dict[str, tuple[str, ...]] = {
    "order": ("SO-48213", "SO-51170", "SO-47002", "SO-50991", "SO-49310", "SO-52004"),
    "invoice": ("INV-20417", "INV-20990", "INV-21003", "INV-19874", "INV-21233"),
    "amount": ("42.00 EUR", "129.90 EUR", "1,480.00 USD", "18.50 GBP", "356.20 EUR", "79.00 USD"),
    "city": ("Hamburg", "Leeds", "Austin", "Lyon", "Singapore", "Porto", "Denver"),
    "company": (
        "Northwind Freight",
        "Halden Optics",
        "Brightwater Labs",
        "Kestrel Bikes",
        "Ostra Foods",
        "Mirador Energy",
    ),
    "person": ("Maria Keller", "Tom Okafor", "Jun Watanabe", "Priya Nair", "Lucas Moreau", "Sofia Lindgren"),
    "topic": (
        "solid-state batteries",
        "heat pumps in old buildings",
        "small language models on phones",
        "EU carbon tariffs",
        "direct lithium extraction",
        "warehouse robotics",
        "post-quantum key exchange",
        "vertical farming costs",
    ),
    "file": (
        "billing/invoice.py",
        "api/orders.py",
        "auth/session.py",
        "jobs/rollup.py",
        "web/cart.tsx",
        "core/retry.py",
    ),
    "symbol": ("retry_policy", "parse_amount", "SessionStore", "apply_discount", "open_transaction"),
    "table": ("orders", "subscriptions", "page_views", "refunds", "inventory_levels"),
    "service": ("checkout", "search", "payments", "catalogue", "notifications"),
    "policy": ("parental leave", "travel expenses", "data retention", "home office", "vendor onboarding"),
    "clause": (
        "limitation of liability",
        "termination for convenience",
        "data protection",
        "price adjustment",
        "governing law",
    ),
    "number": ("2", "3", "4", "7", "12", "18", "26", "41"),
    "percent": ("3 %", "8 %", "11 %", "14 %", "22 %", "37 %"),
    "month": ("March", "May", "June", "August", "September", "October"),
}
_SLOT = re.compile(r"\{(\w+)\}")

#: feature -> (what is asked, what is answered)
_FEATURES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ticket-triage": (
        (
            "My order {order} arrived with a broken lid. What now?",
            "I was charged {amount} twice for {order}.",
            "The app says my parcel is in {city}, but I live in {city}.",
        ),
        (
            "I have opened a replacement for {order}; it leaves our warehouse in {city} tomorrow.",
            "The second charge of {amount} is being refunded and will show within {number} days.",
        ),
    ),
    "refund-check": (
        ("Where is my refund of {amount} for {order}?", "I sent {order} back {number} days ago and see no money."),
        ("The refund of {amount} went out on invoice {invoice}. Banks take up to {number} days to show it.",),
    ),
    "order-status": (
        ("When will {order} be delivered?", "Can {order} still be sent to {city} instead?"),
        (
            "{order} left {city} this morning and should reach you within {number} days.",
            "Yes: I have changed the address of {order} to {city}.",
        ),
    ),
    "faq": (
        (
            "How do I change the e-mail address of my account?",
            "Which countries do you ship to?",
            "Can I pay by bank transfer?",
            "How long is the warranty?",
        ),
        (
            "Open Settings, then Account, and choose Change e-mail. We send a link to confirm it.",
            "We ship to {number} countries; delivery to {city} takes {number} days.",
        ),
    ),
    "kb-answer": (
        (
            "The device blinks orange after the update. What does it mean?",
            "How do I reset the hub without losing my scenes?",
        ),
        (
            "Orange means that it still installs the update. Leave it plugged in for {number} minutes.",
            "Hold the button for {number} seconds: scenes are kept, only the network is forgotten.",
        ),
    ),
    "phone-line": (
        ("[call] Hello, I would like to know where {order} is.", "[call] Can somebody call me back about {invoice}?"),
        (
            "It is on its way to {city} and comes within {number} days.",
            "Certainly. A colleague calls you back within {number} hours.",
        ),
    ),
    "market-brief": (
        (
            "Brief me on {topic}: who leads, what it costs, what could change that.",
            "How large is the market for {topic}, and how sure are we?",
        ),
        ("Three suppliers hold most of the market for {topic}. Costs fell by {percent}: two sources agree.",),
    ),
    "literature-review": (
        (
            "What has been published on {topic} since {month}?",
            "Do independent studies confirm the claims about {topic}?",
        ),
        ("{number} studies qualify. Most find an effect near {percent}; the largest one finds none.",),
    ),
    "fact-check": (
        ("Is it true that {topic} became {percent} cheaper since {month}?",),
        ("Mostly true. Two sources give {percent}, one gives {percent} for a narrower segment.",),
    ),
    "lead-scoring": (
        ("Score {company} as a lead for our logistics plan.", "Is {company} worth a call this quarter?"),
        ("{company}: fit high, timing medium. They opened a site in {city}. Contact: {person}.",),
    ),
    "account-research": (
        ("What changed at {company} since we last spoke in {month}?",),
        ("{company} grew its team by {percent}, moved to {city}, and {person} now leads purchasing.",),
    ),
    "email-draft": (
        (
            "Write to {person} at {company}: the demo moves to next week.",
            "Draft a friendly reminder to {person} about invoice {invoice}.",
        ),
        ("Hello {person}, thank you for your patience. May we move our demo to next week? Any afternoon suits us.",),
    ),
    "subject-line": (
        ("Five subject lines for the {month} newsletter about {topic}.",),
        ("1. {topic}: what changed in {month}  2. {number} minutes on {topic}  3. The real price of {topic}",),
    ),
    "pr-review": (
        ("Review the change to {file}: {symbol} now retries on timeouts.", "Review: move {symbol} out of {file}."),
        ("{file}: the retry swallows the last error; keep it as the cause. {symbol} lacks a test.",),
    ),
    "test-writer": (
        ("Write the missing tests for {symbol} in {file}.",),
        ("Added {number} tests for {symbol}: the empty case, the boundary and the error path. All pass.",),
    ),
    "incident-summary": (
        ("Error rate of {service} doubled {number} minutes ago. What do we know?",),
        ("Errors began with the release at 14:{number}. They come from one shard of {table}; rolling back is safe.",),
    ),
    "log-search": (
        ("Find the first timeout of {service} after the deploy.", "Who calls {service} with an empty cart?"),
        ("The first timeout is in {service}, {number} s after the deploy, on the query against {table}.",),
    ),
    "runbook-step": (
        ("What does the runbook say about failing over {service}?",),
        ("Drain the primary of {service}, wait for {number} s of zero lag, then promote the replica.",),
    ),
    "sql-generation": (
        ("How many {table} per week since {month}?", "Which {number} customers had most refunds in {month}?"),
        ("There were {number},204 in the last full week, {percent} more than the week before.",),
    ),
    "chart-builder": (
        ("Chart {table} by day for {month}, smoothed over a week.",),
        ("Here is the chart: {table} rose by {percent} until mid-{month} and then stayed level.",),
    ),
    "kb-search": (
        ("Where is the design of the {service} service written down?", "What did we decide about {topic}?"),
        ("In the design note on {service}, section {number}. It was last changed in {month}.",),
    ),
    "policy-question": (
        ("What is our policy on {policy}?",),
        ("On {policy}: up to {number} days, approved by your lead. See section {number} of the handbook.",),
    ),
    "invoice-matching": (
        ("Match invoice {invoice} over {amount} with its order and payment.",),
        (
            "{invoice} matches {order}; paid in full. Difference: none.",
            "{invoice} matches {order}, but {amount} are missing: flagged for review.",
        ),
    ),
    "clause-extraction": (
        ("Extract every {clause} clause from the contract with {company}.",),
        ("Section {number} holds the {clause} clause. It binds {company} for {number} months.",),
    ),
    "risk-memo": (
        ("Write a risk memo on the {clause} terms that {company} proposes.",),
        ("Risk medium: the {clause} terms are wider than our standard. Ask for a cap of {amount}.",),
    ),
    "tour-planner": (
        ("Plan the first week of {person}, who joins in {city}.",),
        ("Day 1: laptop and badge in {city}. Day 2: meet {person}. Day 3: read the note on {policy}.",),
    ),
}

#: tool -> (arguments, results)
_TOOLS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "lookup_invoice": (
        {"invoice_id": "{invoice}"},
        ("{invoice}: {amount}, paid in {month}", "{invoice}: {amount}, open since {month}"),
    ),
    "issue_refund": ({"invoice_id": "{invoice}", "amount": "{amount}"}, ("refund of {amount} accepted",)),
    "track_parcel": (
        {"order_id": "{order}"},
        ("{order}: in transit, last scan {city}", "{order}: delivered in {city}"),
    ),
    "lookup_order": ({"order_id": "{order}"}, ("{order}: {number} items, {amount}, shipped to {city}",)),
    "create_return_label": ({"order_id": "{order}", "reason": "damaged"}, ("label for {order} sent by e-mail",)),
    "search_articles": (
        {"query": "{service} settings", "limit": "{number}"},
        ("{number} articles: account settings; delivery; warranty",),
    ),
    "book_callback": ({"about": "{invoice}", "within_hours": "{number}"}, ("booked with {person}",)),
    "web_search": ({"query": "{topic} {month}"}, ("{number} results; first: a review of {topic} from {month}",)),
    "fetch_page": ({"url": "https://reports.example/{number}"}, ("{topic}: prices fell by {percent} since {month}",)),
    "crm_lookup": ({"company": "{company}"}, ("{company}, {city}: {number} contacts, last call in {month}",)),
    "read_file": ({"path": "{file}"}, ("def {symbol}(value):  # {number} lines",)),
    "grep": ({"pattern": "{symbol}", "path": "."}, ("{file}:{number}: {symbol}", "no match")),
    "list_files": ({"path": "{service}/"}, ("{file}, {file}",)),
    "run_tests": ({"path": "tests/{service}"}, ("{number} passed", "{number} passed, 1 failed: test_{symbol}")),
    "query_logs": (
        {"service": "{service}", "query": "level:error", "minutes": "{number}"},
        ("{number} errors, first: timeout in {symbol}",),
    ),
    "query_metrics": ({"metric": "{service}.latency_p95", "minutes": "{number}"}, ("p95 {number}0 ms, rising",)),
    "read_runbook": ({"service": "{service}"}, ("Step {number}: drain {service}, then promote the replica.",)),
    "describe_table": ({"table": "{table}"}, ("{table}: id, created_at, customer_id, amount",)),
    "run_sql": (
        {"sql": "SELECT date_trunc('week', created_at), count(*) FROM {table} GROUP BY 1"},
        ("{number} rows", "0 rows"),
    ),
    "query_status": ({"query_id": "q-{number}41"}, ("running, 0 rows so far",)),
    "draw_chart": ({"kind": "line", "table": "{table}"}, ("chart-{number}.svg",)),
    "vector_index": ({"query": "{policy}", "limit": "{number}"}, ("{number} passages on {policy}",)),
    "match_payment": ({"invoice_id": "{invoice}"}, ("payment of {amount} found", "no payment found")),
    "read_document": ({"document": "{company} contract", "page": "{number}"}, ("… the {clause} of this agreement …",)),
    "search_precedents": ({"clause": "{clause}"}, ("{number} earlier contracts, {number} with the same wording",)),
    "create_ticket": ({"title": "Laptop for {person}"}, ("HELP-{number}7 created",)),
}


def fill(rng: random.Random, template: str) -> str:
    """The template with each ``{slot}`` replaced by one of its words."""
    return _SLOT.sub(lambda match: rng.choice(_WORDS[match[1]]), template)


def question(rng: random.Random, feature: str) -> str:
    """Something that a user of the feature would ask."""
    return fill(rng, rng.choice(_FEATURES[feature][0]))


def answer(rng: random.Random, feature: str) -> str:
    """Something that an agent would answer."""
    return fill(rng, rng.choice(_FEATURES[feature][1]))


def malformed(question: str) -> str:
    """A question as it arrives when something broke it on the way."""
    return clarifications.malformed(question, fill(random.Random(question), "{topic}"))


def clarification(question: str, turn: int) -> str:
    """What an agent asks another one about a question that neither understands."""
    return clarifications.clarification(question, turn)


def tool_call(rng: random.Random, tool: str) -> tuple[dict[str, str | int], str]:
    """Arguments and result of one call of a tool."""
    arguments, results = _TOOLS[tool]
    filled = {name: fill(rng, template) for name, template in arguments.items()}
    return {n: int(v) if v.isdecimal() else v for n, v in filled.items()}, fill(rng, rng.choice(results))
