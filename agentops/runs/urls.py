"""The pages of the runs app."""

from __future__ import annotations

from django.urls import path, register_converter

from agentops.runs import views


class TraceId:
    """32 hexadecimal digits."""

    regex = "[0-9a-f]{32}"

    def to_python(self, value: str) -> str:
        """As it is."""
        return value

    def to_url(self, value: str) -> str:
        """As it is."""
        return value


class SpanId(TraceId):
    """16 hexadecimal digits."""

    regex = "[0-9a-f]{16}"


register_converter(TraceId, "trace")
register_converter(SpanId, "span")

app_name = "runs"
urlpatterns = [
    path("", views.run_list, name="list"),
    path("export.csv", views.run_export, name="csv"),
    path("<trace:trace_id>/", views.run_detail, name="detail"),
    path("<trace:trace_id>/cost.json", views.run_cost, name="cost"),
    path("<trace:trace_id>/<span:span_id>/", views.step_detail, name="step"),
]
