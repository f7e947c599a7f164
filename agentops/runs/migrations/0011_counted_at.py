"""By which moment budgets count a span; unknown for those that came before there were any."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Rewrites no row."""

    dependencies = [("runs", "0010_watch")]
    operations = [
        migrations.RunSQL(
            "ALTER TABLE spans ADD COLUMN counted_at timestamptz", "ALTER TABLE spans DROP COLUMN counted_at"
        ),
        migrations.AddField("span", "counted_at", models.DateTimeField(null=True)),
    ]
