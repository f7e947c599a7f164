"""What a web process is made of besides its pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASK = """
import threading
import agentops.asgi
from celery import current_app
from django.conf import settings

def ask():
    print(current_app.main, current_app.conf.broker_url == settings.CELERY_BROKER_URL)

ask()
thread = threading.Thread(target=ask)
thread.start()
thread.join()
"""
SEND_TO_A_BROKER_THAT_HANGS = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
import os
os.environ["AGENTOPS_VALKEY_URL"] = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
import agentops.asgi
from celery import current_app
begun = time.monotonic()
try:
    current_app.send_task("nothing", retry=False)
except Exception as error:
    print("failed", time.monotonic() - begun < 20)
"""


def answers_of(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, env=os.environ, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_every_thread_of_a_web_process_asks_the_product_s_own_broker_for_tasks() -> None:
    assert answers_of(ASK) == ["agentops True"] * 2


def test_a_broker_that_hangs_does_not_hold_up_who_asks() -> None:
    assert answers_of(SEND_TO_A_BROKER_THAT_HANGS) == ["failed True"]
