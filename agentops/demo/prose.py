"""Texts of every length for acted runs: what tools answer, what agents tell each other, what people ask."""

from __future__ import annotations

import random

_NOUNS = """
    account address agreement archive audit backlog balance batch branch budget buffer cache campaign carrier
    catalogue channel checklist claim client cluster column contract coupon courier credit customer dashboard
    dataset deadline delivery dependency deposit discount document draft endpoint estimate exception export feature
    figure forecast gateway handler header import index interval inventory invoice journal label ledger licence
    limit manifest margin measure meeting member message metric migration module network note notice order package
    parser partner payment permission pipeline plan policy portal premium process product profile project proposal
    provider query queue quota rate receipt record refund region register release report request reserve resource
    response review risk role route rule sample schedule schema script section segment sensor server session
    shipment signal site snapshot source standard statement stock storage subscription summary supplier survey table
    target tariff task template tenant threshold ticket token tool transfer trigger update usage vendor version
    visitor voucher warehouse widget
""".split()  # noqa: SIM905
_VERBS = """
    accepts adjusts adds applies archives assigns blocks builds cancels carries changes checks closes collects
    combines compares confirms contains copies corrects counts covers creates defines delays delivers depends
    describes detects drops duplicates enables ends excludes expects explains exports extends fails filters follows
    formats gives groups handles holds ignores includes increases inherits joins keeps leads limits links lists
    loads locks logs maps marks matches measures merges misses moves names needs notes offers omits opens orders
    overrides passes prints provides raises reads rebuilds receives records reduces refers rejects releases removes
    renames repeats replaces resets resolves returns reuses saves sends serves shares shifts shows skips sorts
    splits stores supports syncs tracks
""".split()  # noqa: SIM905
_KINDS = """
    annual automatic broken central common complete current daily default delayed direct early empty external final
    first fixed foreign former full global hidden initial internal invalid joint large late legal local main manual
    minor missing monthly narrow nested new nightly old open optional partial pending permanent primary private
    public quarterly quick rare recent regional remote secondary separate shared short single slow stable stale
    standard static temporary upper urgent usual valid weekly wide wrong yearly
""".split()  # noqa: SIM905
_LINKS = ("because", "while", "so that", "although", "after", "before", "unless", "where", "as soon as", "whereas")
_CITIES = ("Hamburg", "Leeds", "Austin", "Lyon", "Singapore", "Porto", "Denver", "Gdansk", "Kyoto", "Bergen", "Turin")

_OPENINGS = (
    "", "Thanks for getting back to me.", "I see.", "Understood so far.", "Hello again.", "Before I go on:", "Sorry,",
    "I looked at it once more.", "That is not quite enough for me yet.", "Hm.", "Good point, but", "I appreciate that.",
    "Noted.", "To be certain:", "I cannot proceed like this.",
)  # fmt: skip
_REQUESTS = (
    "could you clarify which {a} you mean", "please tell me whether the {a} or the {b} is wanted",
    "what exactly should happen with the {a}", "I need to know the {a} before the {b} can be touched",
    "can you specify the {a} in more detail", "would you mind rephrasing the part about the {a}",
    "it is unclear to me how the {a} relates to the {b}", "which {a} is the right one for this {b}",
    "let me know what you expect of the {a}", "please provide more context on the {a}",
    "is the {a} supposed to come before the {b}", "do you want the {a} with or without its {b}",
    "I am not sure that I understand the {a}", "the {a} seems to be missing; where would I find it",
    "may I ask who owns the {a}", "how should the {b} be read if the {a} is empty",
)  # fmt: skip
_REASONS = (
    "", "Otherwise the {c} may come out wrong.", "The {c} does not say.", "There are {n} possible readings.",
    "As soon as that is settled I can begin.", "I would rather ask than guess.", "My instructions leave it open.",
    "So far I have only seen the {c}.", "Without it the {c} {verb} nothing.", "This has come up with the {c}, too.",
)  # fmt: skip
_CANNED = (
    "Could you please provide more details about your request so that I can assist you better?",
    "I need more information to proceed. Please clarify the requirements.",
    "I'm waiting for your confirmation before I continue. Please confirm.",
    "Your input could not be processed. Please rephrase your question and try again.",
    "Thank you for the clarification. Could you confirm the details so that I can go ahead?",
    "The analysis is incomplete. Please supply the missing data so that it can be verified.",
    "I am sorry, but I do not understand. What do you mean?",
    "Please specify the time range, the region and the metric that you are interested in.",
)
_ASKED = (
    "How do I change the {a} of my {b}?", "Why was the {a} {kind}?", "When will the {a} reach {city}?",
    "Is the {kind} {a} included in the {b}?", "I cannot find the {a} in the {b}.", "Please cancel the {kind} {a}.",
    "Who can see my {a}?", "What does the {kind} {a} cost for {n} people?", "The {a} says {n}, but the {b} says {m}.",
    "Can the {a} be sent to {city} instead?", "Does the {kind} {a} also cover a {b}?",
)  # fmt: skip


class Prose:
    """Writes with one pair of dice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def noun(self) -> str:
        """A thing."""
        return self.rng.choice(_NOUNS)

    def name(self) -> str:
        """A name as code has them."""
        return f"{self.rng.choice(_KINDS)}_{self.noun()}"

    def path(self) -> str:
        """A file."""
        return f"src/{self.noun()}/{self.name()}.{self.rng.choice(('py', 'py', 'ts', 'go', 'sql', 'md'))}"

    def sentence(self) -> str:
        """Some ten to twenty words."""
        rng = self.rng
        said = self._clause()
        if rng.random() < 0.6:
            said += f" {rng.choice(_LINKS)} {self._clause()}"
        if rng.random() < 0.3:
            said += f", {rng.randrange(2, 900)} in {rng.choice(_CITIES)}"
        return f"{said[0].upper()}{said[1:]}."

    def paragraph(self, shortest: int = 1, longest: int = 6) -> str:
        """Sentences, so many."""
        return " ".join(self.sentence() for _ in range(self.rng.randint(shortest, longest)))

    def question(self) -> str:
        """What a person asks."""
        rng = self.rng
        return rng.choice(_ASKED).format(
            a=self.noun(),
            b=self.noun(),
            kind=rng.choice(_KINDS),
            city=rng.choice(_CITIES),
            n=rng.randrange(2, 400),
            m=rng.randrange(400, 900),
        )

    def canned(self) -> str:
        """What an agent says that does not understand, in words that it always uses."""
        return self.rng.choice(_CANNED)

    def clarification(self, things: tuple[str, ...]) -> str:
        """What an agent asks another about these things, in words of its own each time."""
        rng = self.rng
        asked = []
        for request in rng.sample(_REQUESTS, rng.choice((1, 1, 2, 3))):
            a, b = rng.sample(things, 2)
            asked.append(request.format(a=a, b=b))
        reason = rng.choice(_REASONS).format(c=rng.choice(things), n=rng.randrange(2, 6), verb=rng.choice(_VERBS))
        said = f"{rng.choice(_OPENINGS)} {'; and '.join(asked)}? {reason}".strip()
        return said[0].upper() + said[1:]

    def things(self, count: int = 8) -> tuple[str, ...]:
        """What a talk is about."""
        return tuple(f"{self.rng.choice(_KINDS)} {noun}" for noun in self.rng.sample(_NOUNS, count))

    def code(self, shortest: int = 3, longest: int = 40) -> str:
        """Lines of a program."""
        rng = self.rng
        lines = [f"def {self.name()}({self.noun()}, {self.noun()}):"]
        for _ in range(rng.randint(shortest, longest)):
            a, b, c = self.noun(), self.noun(), self.name()
            lines.append(
                rng.choice(
                    (
                        f"    {a} = {c}({b}, {rng.randrange(99)})",
                        f"    if {a}.{b} > {rng.randrange(999)}:",
                        f"        raise ValueError('{b} of {a}')",
                        f"    for {a} in {b}.{c}():",
                        f"        {c}.append({a}['{b}'])",
                        f"    return {c} or {a}",
                        f"    # {self.sentence()}",
                    )
                )
            )
        return "\n".join(lines)

    def hits(self, shortest: int = 2, longest: int = 8) -> str:
        """What a search finds."""
        return "\n".join(
            f"{number}. {self.sentence()} https://docs.example/{self.noun()}/{self.rng.randrange(9_999)}\n"
            f"   {self.paragraph(1, 3)}"
            for number in range(1, self.rng.randint(shortest, longest) + 1)
        )

    def rows(self, shortest: int = 2, longest: int = 12) -> str:
        """What a query gives."""
        rng = self.rng
        names = " | ".join(self.name() for _ in range(4))
        lines = [
            f"{rng.randrange(10_000)} | {self.noun()} | {rng.choice(_CITIES)} | {rng.randrange(90_000) / 100:.2f}"
            for _ in range(rng.randint(shortest, longest))
        ]
        return "\n".join((names, *lines))

    def log(self, shortest: int = 2, longest: int = 12) -> str:
        """Lines of a log."""
        rng = self.rng
        return "\n".join(
            f"2026-03-{rng.randrange(1, 29):02d}T{rng.randrange(24):02d}:{rng.randrange(60):02d}:11Z"
            f" {rng.choice(('INFO', 'WARN', 'ERROR'))} {self.name()}: {self.sentence()}"
            for _ in range(rng.randint(shortest, longest))
        )

    def _clause(self) -> str:
        rng = self.rng
        subject = f"the {rng.choice(_KINDS)} {self.noun()}" if rng.random() < 0.7 else f"a {self.noun()}"
        return f"{subject} {rng.choice(_VERBS)} the {self.noun()} of the {rng.choice(_KINDS)} {self.noun()}"
