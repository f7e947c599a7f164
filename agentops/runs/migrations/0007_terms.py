"""What a span's price depends on besides its tokens, whether its cost is an estimate, and where no cost is known."""

from django.db import migrations, models

# Model calls whose cost is missing, by the rule of ``domain.pricing.counts_as_unpriced``: few, and found without a look
# at the others. What the page of them sums is in the index.
FORWARD = """
ALTER TABLE spans ADD COLUMN terms jsonb, ADD COLUMN is_estimate boolean NOT NULL DEFAULT false;
CREATE INDEX spans_unpriced ON spans (start_ns)
    INCLUDE (service, provider, response_model, request_model, input_tokens, output_tokens, merged_into)
    WHERE kind IN (3, 4) AND cost_nano IS NULL AND (NOT is_error OR coalesce(input_tokens, output_tokens,
        cache_read_input_tokens, cache_creation_input_tokens, reasoning_output_tokens) IS NOT NULL);
"""
BACK = """
DROP INDEX spans_unpriced;
ALTER TABLE spans DROP COLUMN terms, DROP COLUMN is_estimate;
"""


class Migration(migrations.Migration):
    """Rewrites no row."""

    dependencies = [("runs", "0006_names_of_models_and_tools")]
    operations = [
        migrations.RunSQL(FORWARD, BACK),
        migrations.AddField("span", "terms", models.JSONField(null=True)),
        migrations.AddField("span", "is_estimate", models.BooleanField(default=False)),
    ]
