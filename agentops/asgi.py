"""The ASGI application: the OTLP receiver first, then websockets, then Django."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentops.settings")

application = get_asgi_application()
