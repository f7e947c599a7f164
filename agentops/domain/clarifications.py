"""What agents say who ask each other what is meant: never twice in the same words, and never anything new."""

from __future__ import annotations

import random

_OPENINGS = (
    "Before I go on: {ask} {why}",
    "Thanks, that helps a little. {ask} {why}",
    "I am afraid this is still unclear to me. {why} {ask}",
    "Happy to continue once this is settled. {ask}",
    "{why} {ask}",
    "Let me make sure we mean the same. {ask} {why}",
    "Noted. One more thing, though: {ask}",
    "My reading may differ from yours. {why} {ask}",
    "I looked at your last message again. {ask} {why}",
    "Not quite there yet. {why} So, {ask}",
    "Good point, which raises another one. {ask}",
    "I would rather ask than guess. {ask} {why}",
)
_ASKS = (
    "could you clarify {what}?",
    "which reading of {what} did you have in mind?",
    "please confirm {what}.",
    "can you specify {what} more precisely?",
    "what do you mean by {what} here?",
    "would you restate {what} in your own words?",
    "is {what} the one from the request, or another?",
    "how should {what} be understood?",
    "do you want {what} taken literally?",
    "tell me whether {what} still holds, please.",
    "should I assume that {what} is as before?",
    "may I ask you to spell out {what} once more?",
)
_REASONS = (
    "The input I was given breaks off in the middle.",
    "Two readings are possible and they lead to different numbers.",
    "Without it any figure would be a guess.",
    "Your note mentions it, but the field arrived empty.",
    "I see a bracket that never closes, so part of the question may be lost.",
    "What you sent contradicts the header of the table.",
    "I cannot verify anything until that is known.",
    "The wording allows for either.",
    "It reads as if a value was cut off.",
    "As it stands, both of us would be working on different questions.",
    "Nothing in the thread so far says so.",
    "I would need more context to decide.",
)
_WHATS = (
    "the period",
    "the reporting quarter",
    "the region filter",
    "the baseline year",
    "the customer segment",
    "the definition of churn",
    "the unit of the second column",
    "the currency",
    "the list of suppliers",
    "the cut-off date",
    "the sample",
    "the term 'active'",
)
#: People's questions that arrive broken.
_MALFORMED = (
    '{{"question": "Compare {topic} by region", "period": "Q3-", "regions": ["EMEA", nul',
    "Brief me on {topic} for \\u0000\\u0000 vs. {{{{period}}}}, segm",
    '"Brief;{topic};;2025-13-;;"verify both\\',
    "<task><topic>{topic}</topic><period>undefined..NaN</period><seg",
)


def clarification(seed: str, turn: int) -> str:
    """What is said in one turn of a conversation; the same for the same arguments.

    Openings, questions and reasons each come round at their own pace, so that turns nearby share few words.
    """
    first = random.Random(seed).randrange(1 << 16) + turn
    rounds = turn // len(_ASKS)
    later = rounds // len(_ASKS)
    ask = _ASKS[(first * 5 + rounds) % len(_ASKS)].format(what=_WHATS[(first * 7 + rounds * 5 + later) % len(_WHATS)])
    why = _REASONS[(first * 11 + rounds * 3 + later * 7) % len(_REASONS)]
    said = _OPENINGS[(first + later // len(_WHATS)) % len(_OPENINGS)].format(ask=ask, why=why)
    # A sentence begins with a capital wherever the question has come to stand.
    return ". ".join(part[:1].upper() + part[1:] for part in said.split(". "))


def malformed(seed: str, topic: str) -> str:
    """A person's question about a topic as it arrives when something broke it on the way."""
    return random.Random(seed).choice(_MALFORMED).format(topic=topic)
