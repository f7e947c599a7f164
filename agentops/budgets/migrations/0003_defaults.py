"""A ceiling per run and per session for everybody, from the first span on."""

from django.db import migrations
from django.utils import timezone

NANO = 10**9
DEFAULTS = (("run", "Any run", 25), ("session", "Any session", 100))
NOTE = "Holds for every service that has no ceiling of its own per {}."


def make(apps, schema_editor):
    """Nothing was counted before, so nothing older counts."""
    now = timezone.now()
    for period, name, usd in DEFAULTS:
        apps.get_model("budgets", "Budget").objects.create(
            name=name,
            period=period,
            limit_nano=usd * NANO,
            thresholds=[0.8, 1.0],
            action="stop",
            effective_from=now,
            counts_from=now,
            is_default=True,
            created_at=now,
            note=NOTE.format(period),
        )
    schema_editor.execute("SELECT budgets_decided()")


class Migration(migrations.Migration):
    """Two rows."""

    dependencies = [("budgets", "0002_tables")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
