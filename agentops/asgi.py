"""The ASGI application: the OTLP receiver first, then websockets, then Django."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")
django.setup()

from agentops.celery import app  # noqa: E402  (Django must be set up first)
from agentops.front import build  # noqa: E402
from agentops.live.routing import websockets  # noqa: E402

#: A broker that hangs must not hold up a request for longer, in seconds. Workers wait for it as long as it takes.
BROKER_SECONDS = 2.0
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "socket_timeout": BROKER_SECONDS,
    "socket_connect_timeout": BROKER_SECONDS,
}

application = build(websockets)
