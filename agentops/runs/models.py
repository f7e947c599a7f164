"""What happened: runs and spans as stored.

The tables are made by SQL in the migrations, because Django cannot say *partition* and
*composite key with a range partition* at once. Each primary key holds ``trace_id``, so that the
tables can be distributed by it.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Run(models.Model):
    """One trace of one service, with its totals.

    A dimension of attribution (user, session, …) holds the best value seen so far; its ``*_order``
    says how good it is, so that the outcome does not depend on the order of arrival; ``was_*`` is
    the value before the last change, which is what its spend is moved from.
    """

    pk = models.CompositePrimaryKey("trace_id", "service")
    trace_id = models.BinaryField(max_length=16)
    service = models.TextField()

    environment = models.TextField(null=True)
    session = models.TextField(null=True)
    user = models.TextField(null=True)
    feature = models.TextField(null=True)
    release = models.TextField(null=True)
    environment_order = models.BigIntegerField(null=True)
    session_order = models.BigIntegerField(null=True)
    user_order = models.BigIntegerField(null=True)
    feature_order = models.BigIntegerField(null=True)
    release_order = models.BigIntegerField(null=True)
    was_environment = models.TextField(null=True)
    was_session = models.TextField(null=True)
    was_user = models.TextField(null=True)
    was_feature = models.TextField(null=True)
    was_release = models.TextField(null=True)

    name = models.TextField(null=True)
    agents = ArrayField(models.TextField(), default=list)
    model_names = ArrayField(models.TextField(), default=list, db_column="models")
    tool_names = ArrayField(models.TextField(), default=list, db_column="tools")
    has_root = models.BooleanField(default=False)
    root_error = models.BooleanField(default=False)
    last_ended_ns = models.BigIntegerField(default=0)
    last_error = models.BooleanField(default=False)
    started_at = models.DateTimeField()
    latest_at = models.DateTimeField()
    first_received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()

    cost_nano = models.BigIntegerField(default=0)
    unpriced_calls = models.IntegerField(default=0)
    llm_calls = models.IntegerField(default=0)
    tool_calls = models.IntegerField(default=0)
    steps = models.IntegerField(default=0)
    errors = models.IntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read_input_tokens = models.BigIntegerField(default=0)
    cache_creation_input_tokens = models.BigIntegerField(default=0)
    reasoning_output_tokens = models.BigIntegerField(default=0)
    spans = models.IntegerField(default=0)

    needs_tree = models.BooleanField(default=False)
    open_parents = ArrayField(models.TextField(), default=list)
    llm_scopes = ArrayField(models.TextField(), default=list)
    absorbed_spans = models.IntegerField(default=0)

    class Meta:
        managed = False
        db_table = "runs"

    def __str__(self) -> str:
        return f"{self.service}/{bytes(self.trace_id).hex()}"


class Span(models.Model):
    """One span as booked. Partitioned by ``received_on``; ``span_ledger`` knows it for longer.

    ``agent`` is the nearest agent at or above the span; ``own_agent`` what the span itself says.
    A model call that repeats another one names it in ``merged_into`` and costs nothing itself; ``merged_trace_id`` is
    that one's trace where it is another. Who counts what such a repetition knew better keeps its ``own_figures``.
    ``content`` is JSON text: prompts, completions, arguments, results, further attributes. ``terms`` is what its price
    depends on besides the tokens (see ``domain.terms``); ``is_estimate``: its cost is one, because the call failed.
    ``counted_at`` is the moment by which budgets count it: when the guard granted it, else when it came.
    """

    pk = models.CompositePrimaryKey("trace_id", "span_id", "service")
    received_on = models.DateField()
    service = models.TextField()
    trace_id = models.BinaryField(max_length=16)
    span_id = models.BinaryField(max_length=8)
    parent_span_id = models.BinaryField(max_length=8, null=True)
    kind = models.SmallIntegerField()
    is_error = models.BooleanField()
    name = models.TextField()
    scope = models.TextField()
    own_agent = models.TextField(null=True)
    agent = models.TextField(null=True)
    provider = models.TextField(null=True)
    request_model = models.TextField(null=True)
    response_model = models.TextField(null=True)
    response_id = models.TextField(null=True)
    tool = models.TextField(null=True)
    error_type = models.TextField(null=True)
    start_ns = models.BigIntegerField()
    end_ns = models.BigIntegerField()
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cache_read_input_tokens = models.BigIntegerField(null=True)
    cache_creation_input_tokens = models.BigIntegerField(null=True)
    reasoning_output_tokens = models.BigIntegerField(null=True)
    cost_nano = models.BigIntegerField(null=True)
    price_source = models.SmallIntegerField(null=True)
    price_id = models.TextField(null=True)
    merged_into = models.BinaryField(max_length=8, null=True)
    merged_trace_id = models.BinaryField(max_length=16, null=True)
    own_figures = models.TextField(null=True)
    content = models.TextField(null=True)
    terms = models.JSONField(null=True)
    is_estimate = models.BooleanField(default=False)
    counted_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "spans"

    def __str__(self) -> str:
        return f"{self.service}/{bytes(self.trace_id).hex()}/{bytes(self.span_id).hex()}"
