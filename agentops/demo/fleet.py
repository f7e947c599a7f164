"""Which services the demo has: their teams, agents, models, people and rhythms. Tables only."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentops.demo.plan import Dialect, Model

MODELS = {
    model.name: model
    for model in (
        Model("gpt-4o", "gpt-4o-2024-08-06", "openai", 95),
        Model("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai", 120),
        Model("gpt-4-turbo", "gpt-4-turbo-2024-04-09", "openai", 45, caches=False),
        Model("gpt-4.1", "gpt-4.1-2025-04-14", "openai", 85),
        Model("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "openai", 110),
        Model("gpt-4.1-nano", "gpt-4.1-nano-2025-04-14", "openai", 170),
        Model("gpt-5", "gpt-5-2025-08-07", "openai", 80, reasoning=0.6),
        Model("gpt-5-mini", "gpt-5-mini-2025-08-07", "openai", 120, reasoning=0.35),
        Model("o4-mini", "o4-mini-2025-04-16", "openai", 130, reasoning=0.65),
        Model("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic", 75),
        Model("claude-haiku-4-5", "claude-haiku-4-5-20251001", "anthropic", 150),
        Model("gemini-2.5-pro", "gemini-2.5-pro", "gcp.gemini", 85, caches=False, reasoning=0.4),
        Model("gemini-2.5-flash", "gemini-2.5-flash", "gcp.gemini", 180, caches=False),
        Model("mistral-large-latest", "mistral-large-2411", "mistral_ai", 60, caches=False),
        Model("text-embedding-3-small", "text-embedding-3-small", "openai", caches=False),
        # Our own fine-tune on our own machines: nobody publishes a price for it, so it stays unpriced.
        Model("concierge-8b-v3", "concierge-8b-v3", "vllm", 140, caches=False),
    )
}

TEAMS = {
    "customer-care": "Customer Care",
    "growth": "Growth",
    "research": "Research",
    "platform": "Platform Engineering",
    "data": "Data and Analytics",
    "finance-ops": "Finance Operations",
}


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of a service. ``turns`` and ``context`` (tokens) are ranges; ``output`` is a median of tokens."""

    name: str
    models: tuple[str, ...]
    tools: tuple[str, ...] = ()
    turns: tuple[int, int] = (1, 2)
    context: tuple[int, int] = (600, 1_800)
    output: int = 160
    growth: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """One simulated service. ``agents[0]`` answers; ``pattern`` names how they work together.

    ``daily`` is its runs on a full weekday at scale 1, ``live`` its weight in live traffic, ``audience`` how many
    users it has (0: nobody, it runs by itself) and ``prefix`` what their names start with (empty: colleagues).
    ``turns`` is the range of runs in a session; ``pace`` slows or quickens its models; ``encoding`` is what its
    exporter speaks.
    """

    slug: str
    team: str
    description: str
    dialect: Dialect
    pattern: str
    agents: tuple[Agent, ...]
    features: tuple[tuple[str, int], ...]
    zone: str
    rhythm: str
    daily: float
    live: float
    audience: int
    prefix: str = ""
    turns: tuple[int, int] = (1, 1)
    release_days: int = 9
    release: str = "1"
    pace: float = 1.0
    failing: float = 0.02
    encoding: str = "protobuf"
    owner: str | None = "owner"
    embedding: Model = field(default_factory=lambda: MODELS["text-embedding-3-small"])


SERVICES = (
    Service(
        "support-triage",
        "customer-care",
        "Reads each ticket, hands it to the agent who can solve it, and answers.",
        Dialect.OPENAI_AGENTS,
        "handoff",
        (
            Agent("triage_agent", ("gpt-5-mini",), output=70, context=(900, 1_600)),
            Agent("billing_agent", ("gpt-4.1",), ("lookup_invoice", "issue_refund"), (2, 3), (1_200, 2_400), 180),
            Agent("shipping_agent", ("gpt-4.1",), ("track_parcel", "lookup_order"), (2, 3), (1_100, 2_200), 170),
            Agent(
                "returns_agent", ("gpt-4.1-mini",), ("lookup_order", "create_return_label"), (2, 3), (1_000, 2_000), 160
            ),
        ),
        (("ticket-triage", 6), ("refund-check", 3), ("order-status", 5)),
        "Europe/Berlin",
        "consumer",
        daily=52,
        live=3,
        audience=900,
        prefix="cust-",
        turns=(1, 4),
        release="3",
        release_days=7,
    ),
    Service(
        "help-center-chat",
        "customer-care",
        "Answers questions from the help centre's articles.",
        Dialect.GENAI,
        "retrieve",
        (Agent("help_agent", ("gpt-4.1-nano", "gpt-4.1-mini"), ("search_articles",), (1, 1), (900, 2_600), 140),),
        (("faq", 6), ("kb-answer", 4)),
        "Europe/Berlin",
        "consumer",
        daily=120,
        live=36,
        audience=2_500,
        prefix="cust-",
        turns=(1, 5),
        release="2",
        release_days=6,
    ),
    Service(
        "voice-concierge",
        "customer-care",
        "Takes calls, with a model of our own.",
        Dialect.GENAI,
        "single",
        (Agent("concierge", ("concierge-8b-v3",), ("lookup_order", "book_callback"), (1, 3), (500, 1_400), 60),),
        (("phone-line", 1),),
        "America/Chicago",
        "consumer",
        daily=36,
        live=18,
        audience=400,
        prefix="caller-",
        release_days=11,
        encoding="json",
    ),
    Service(
        "research-assistant",
        "research",
        "Four agents research a question, analyse it, verify it and sum it up.",
        Dialect.GENAI,
        "research",
        (
            Agent("research", ("gpt-4-turbo",), ("web_search",), context=(1_400, 1_600), output=470, growth=210),
            Agent("analysis", ("gpt-4-turbo",), context=(1_400, 1_600), output=470, growth=210),
            Agent("verification", ("gpt-4-turbo",), ("fetch_page",), context=(1_400, 1_600), output=470, growth=210),
            Agent("summary", ("gpt-4-turbo",), context=(1_400, 1_600), output=520, growth=210),
        ),
        (("market-brief", 4), ("literature-review", 3), ("fact-check", 2)),
        "America/New_York",
        "office",
        daily=24,
        live=0.6,
        audience=40,
        release="4",
        release_days=8,
        pace=0.06,
        failing=0.006,
    ),
    Service(
        "lead-scout",
        "growth",
        "Finds and profiles companies that could be customers.",
        Dialect.PYDANTIC_AI,
        "delegate",
        (
            Agent("lead_scout", ("claude-sonnet-4-5",), ("crm_lookup",), (2, 3), (2_200, 4_200), 240),
            Agent("company_profiler", ("claude-haiku-4-5",), ("web_search", "fetch_page"), (2, 4), (1_500, 3_500), 260),
        ),
        (("lead-scoring", 5), ("account-research", 3)),
        "America/Los_Angeles",
        "office",
        daily=26,
        live=0.6,
        audience=25,
        release_days=10,
    ),
    Service(
        "email-writer",
        "growth",
        "Drafts e-mails in a colleague's own voice.",
        Dialect.PYDANTIC_AI,
        "single",
        (Agent("email_writer", ("gpt-4.1-mini", "gpt-4o-mini"), ("crm_lookup",), (1, 2), (700, 1_900), 230),),
        (("email-draft", 7), ("subject-line", 3)),
        "America/Los_Angeles",
        "office",
        daily=60,
        live=26,
        audience=60,
        turns=(1, 3),
        release="2",
        release_days=5,
    ),
    Service(
        "code-reviewer",
        "platform",
        "Reviews pull requests and writes the tests that they lack.",
        Dialect.GENAI,
        "delegate",
        (
            Agent(
                "reviewer", ("claude-sonnet-4-5",), ("read_file", "grep", "list_files"), (5, 11), (18_000, 42_000), 320
            ),
            Agent("test_writer", ("gpt-5",), ("read_file", "run_tests"), (3, 6), (9_000, 24_000), 520),
        ),
        (("pr-review", 7), ("test-writer", 3)),
        "Europe/Berlin",
        "office",
        daily=15,
        live=0.3,
        audience=45,
        release="5",
        release_days=4,
        failing=0.025,
    ),
    Service(
        "incident-copilot",
        "platform",
        "Looks at logs and metrics with whoever is on call.",
        Dialect.LANGGRAPH,
        "single",
        (
            Agent(
                "incident_copilot",
                ("gpt-5", "o4-mini"),
                ("query_logs", "query_metrics", "read_runbook"),
                (3, 7),
                (8_000, 26_000),
                380,
            ),
        ),
        (("incident-summary", 4), ("log-search", 5), ("runbook-step", 2)),
        "Europe/London",
        "always",
        daily=13,
        live=0.3,
        audience=18,
        turns=(1, 3),
        failing=0.025,
    ),
    Service(
        "sql-analyst",
        "data",
        "Turns questions into SQL, runs it and draws the chart.",
        Dialect.GENAI_OLD,
        "single",
        (
            Agent(
                "sql_analyst",
                ("gpt-4o", "gemini-2.5-flash"),
                ("describe_table", "run_sql", "draw_chart"),
                (2, 4),
                (1_800, 4_500),
                210,
            ),
        ),
        (("sql-generation", 6), ("chart-builder", 3)),
        "Europe/London",
        "office",
        daily=30,
        live=1.5,
        audience=70,
        turns=(1, 3),
        release_days=8,
    ),
    Service(
        "doc-search",
        "data",
        "Answers from the company's documents, with citations.",
        Dialect.OPENINFERENCE,
        "retrieve",
        (Agent("doc_search", ("gpt-4o-mini",), ("vector_index",), (1, 1), (1_500, 4_000), 190),),
        (("kb-search", 6), ("policy-question", 3)),
        "Asia/Singapore",
        "office",
        daily=70,
        live=30,
        audience=130,
        turns=(1, 3),
        release="2",
    ),
    Service(
        "invoice-matcher",
        "finance-ops",
        "Matches invoices with orders and payments, every night.",
        Dialect.GENAI_OLD,
        "single",
        (
            Agent(
                "invoice_matcher",
                ("mistral-large-latest", "gemini-2.5-flash"),
                ("lookup_invoice", "match_payment"),
                (2, 4),
                (1_600, 3_600),
                120,
            ),
        ),
        (("invoice-matching", 1),),
        "Europe/Berlin",
        "nightly",
        daily=44,
        live=1.5,
        audience=0,
        release_days=13,
        encoding="json",
    ),
    Service(
        "contract-reader",
        "finance-ops",
        "Reads contracts: one agent extracts clauses, one weighs their risk.",
        Dialect.LANGGRAPH,
        "supervise",
        (
            Agent("contract_reader", ("gemini-2.5-pro",), (), (1, 1), (12_000, 20_000), 120),
            Agent("clause_extractor", ("gemini-2.5-pro",), ("read_document",), (2, 3), (30_000, 70_000), 480),
            Agent("risk_assessor", ("claude-sonnet-4-5",), ("search_precedents",), (2, 3), (14_000, 36_000), 420),
        ),
        (("clause-extraction", 5), ("risk-memo", 3)),
        "America/New_York",
        "office",
        daily=9,
        live=0.2,
        audience=14,
        release_days=12,
    ),
    Service(
        "onboarding-guide",
        "",
        "A hack-week project that went live; nobody has claimed it.",
        Dialect.OPENINFERENCE,
        "single",
        (
            Agent(
                "onboarding_guide", ("claude-haiku-4-5",), ("read_document", "create_ticket"), (1, 3), (900, 2_600), 200
            ),
        ),
        (("tour-planner", 1),),
        "Asia/Singapore",
        "office",
        daily=20,
        live=4,
        audience=55,
        release="0",
        release_days=17,
        failing=0.05,
        owner=None,
    ),
)
BY_SLUG = {service.slug: service for service in SERVICES}
