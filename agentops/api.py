"""The HTTP API: one ninja application, a router from each app, problem+json errors."""

from __future__ import annotations

from ninja import NinjaAPI

api = NinjaAPI(title="agentops", version="1", docs_url="/docs", urls_namespace="api")
