"""The ASGI application: the OTLP receiver first, then websockets, then Django."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
django.setup()

from agentops.front import build  # noqa: E402  (Django must be set up first)
from agentops.live.routing import websockets  # noqa: E402

application = build(websockets)
