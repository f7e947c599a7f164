"""Attributions by rule rank between explicit ones and fallbacks: fallbacks move up."""

from django.db import migrations

DIMENSIONS = ("environment", "session", "user", "feature", "release")
#: The rank stands above bit 53, whether the value came from below the root in bit 52.
ONE, TWO = 1 << 53, 2 << 53


def _shift(first: int, by: int) -> str:
    sets = ", ".join(f"{d}_order = {d}_order + CASE WHEN {d}_order >= {first} THEN {by} ELSE 0 END" for d in DIMENSIONS)
    return f"UPDATE runs SET {sets} WHERE " + " OR ".join(f"{d}_order >= {first}" for d in DIMENSIONS)


class Migration(migrations.Migration):
    """Rewrites the runs that have fallbacks."""

    dependencies = [("runs", "0003_indexes")]
    operations = [migrations.RunSQL(_shift(ONE, ONE), _shift(TWO, -ONE))]
