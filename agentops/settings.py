"""Django settings, all from the environment (``.env.example`` lists every variable)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from csp.constants import NONE, SELF

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("AGENTOPS_HOME") or BASE_DIR / "var").resolve()
DEBUG = False


def _flag(name: str, *, default: bool = False) -> bool:
    value = os.environ.get(name, "").strip().lower()
    return default if not value else value in {"1", "true", "yes", "on"}


def _content(path: str | None) -> str:
    """A secret that a file holds, without its line end; empty when no file is named. Raises OSError."""
    return Path(path).read_text().strip() if path else ""


def _secret_key() -> str:
    """``AGENTOPS_SECRET_KEY`` or its file, else a random one kept in the home directory (mode 0600)."""
    if given := os.environ.get("AGENTOPS_SECRET_KEY") or _content(os.environ.get("AGENTOPS_SECRET_KEY_FILE")):
        return given
    path = HOME / "secret_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        HOME.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".secret_key.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(secrets.token_urlsafe(50))
    try:
        os.link(scratch, path)  # whoever links first wins; everybody then reads the same key
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
    return path.read_text().strip()


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = [h for h in os.environ.get("AGENTOPS_ALLOWED_HOSTS", "").split(",") if h] or [
    "localhost",
    "127.0.0.1",
    "[::1]",
    "testserver",
]
CSRF_TRUSTED_ORIGINS = [o for o in os.environ.get("AGENTOPS_TRUSTED_ORIGINS", "").split(",") if o]

INSTALLED_APPS = [
    "agentops",
    "agentops.accounts",
    "agentops.catalog",
    "agentops.runs",
    "agentops.budgets",
    "agentops.costs",
    "agentops.alerts",
    "agentops.watch",
    "agentops.guard",
    "agentops.prices",
    "agentops.billing",
    "agentops.ingest",
    "agentops.live",
    "agentops.dashboard",
    "agentops.demo",
    "channels",
    "django_htmx",
    "template_partials",
    "csp",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "agentops.urls"
ASGI_APPLICATION = "agentops.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "agentops.dashboard.context.frame",
            ],
        },
    }
]


def _database(url: str) -> dict[str, Any]:
    """A Django database from ``postgresql://user:password@host:port/name?option=value``."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = query.pop("host", "") or unquote(parts.hostname or "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "agentops",
        "USER": unquote(parts.username or query.pop("user", "")),
        "PASSWORD": unquote(parts.password or query.pop("password", "")),
        "HOST": host,
        "PORT": str(parts.port or query.pop("port", "")),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **query,
            # A backend keeps the memory it once needed: who is idle goes soon, who is busy in time.
            "pool": {"min_size": 1, "max_size": 8, "timeout": 5, "max_idle": 5, "max_lifetime": 300},
            "application_name": os.environ.get("AGENTOPS_ROLE", "agentops"),
            "connect_timeout": 5,
            "options": "-c statement_timeout=10s -c lock_timeout=3s -c idle_in_transaction_session_timeout=15s",
        },
        "TEST": {"NAME": os.environ.get("AGENTOPS_TEST_DATABASE") or None},
    }


def _embedded_url(name: str, default: str) -> str:
    """What the supervisor wrote into the home; a useless default before the first start."""
    try:
        return (HOME / name).read_text().strip()
    except OSError:
        return default


def _with_password(url: str, password: str) -> str:
    """The URL with a password in it, unless it has one or none is given."""
    parts = urlsplit(url)
    if not password or parts.password:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.removesuffix(':')}:{quote(password, safe='')}@{host}"))


DATABASE_URL = _with_password(
    os.environ.get("AGENTOPS_DATABASE_URL")
    or _embedded_url("database_url", f"postgresql:///agentops?host={HOME / 'run'}"),
    _content(os.environ.get("AGENTOPS_DATABASE_PASSWORD_FILE")),
)
DATABASES = {"default": _database(DATABASE_URL)}

VALKEY_URL = os.environ.get("AGENTOPS_VALKEY_URL") or _embedded_url(
    "valkey_url", f"unix://{HOME / 'run' / 'valkey.sock'}"
)

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [VALKEY_URL], "prefix": "agentops"},
    }
}

CELERY_BROKER_URL = VALKEY_URL.replace("unix://", "redis+socket://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 90
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 120, "health_check_interval": 10}
CELERY_TIMEZONE = "UTC"
# What pages somebody waits for nothing: see agentops.celery.
CELERY_TASK_ROUTES = {
    "agentops.watch.tasks.take_up_dry_runs": {"queue": "celery"},
    "agentops.watch.tasks.*": {"queue": "watch"},
    "agentops.alerts.tasks.*": {"queue": "watch"},
}
# When each entry ran last outlives a restart, else what is due once a day might never be.
CELERY_BEAT_SCHEDULE_FILENAME = str(HOME / "beat" / "schedule")
# A row in PostgreSQL is the record; a task that finds the broker gone must not hold up a request.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "heartbeat": {"task": "agentops.ingest.tasks.heartbeat", "schedule": 10.0},
    "reconcile": {"task": "agentops.costs.tasks.reconcile", "schedule": 60.0},
    "reconcile-all": {"task": "agentops.costs.tasks.reconcile_all", "schedule": 86_400.0},
    "fold": {"task": "agentops.costs.tasks.fold", "schedule": 15.0},
    "close-days": {"task": "agentops.costs.tasks.close_days", "schedule": 300.0},
    "reattributions": {"task": "agentops.costs.tasks.take_up", "schedule": 15.0},
    "partitions": {"task": "agentops.runs.tasks.maintain_partitions", "schedule": 3600.0},
    "redigest": {"task": "agentops.ingest.tasks.redigest_quarantine", "schedule": 60.0},
    "repricings": {"task": "agentops.prices.tasks.take_up", "schedule": 3.0},
    "look": {"task": "agentops.watch.tasks.look", "schedule": 5.0},
    "look-at-quiet": {"task": "agentops.watch.tasks.look_at_quiet", "schedule": 30.0},
    "dry-runs": {"task": "agentops.watch.tasks.take_up_dry_runs", "schedule": 3.0},
    "prune-watch": {"task": "agentops.watch.tasks.prune", "schedule": 3600.0},
    "settle-alerts": {"task": "agentops.alerts.tasks.settle", "schedule": 5.0},
    "guard-habits": {"task": "agentops.guard.tasks.note_habits", "schedule": 300.0},
    "reconcile-budgets": {"task": "agentops.guard.tasks.reconcile", "schedule": 300.0},
    "prune-budgets": {"task": "agentops.guard.tasks.prune", "schedule": 3600.0},
    "prune-events": {"task": "agentops.live.tasks.prune_events", "schedule": 600.0},
}

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "dashboard:overview"
LOGOUT_REDIRECT_URL = "accounts:login"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATIC_ROOT = Path(os.environ.get("AGENTOPS_STATIC_ROOT") or HOME / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "agentops.dashboard.assets.PlotlyFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

HTTPS = _flag("AGENTOPS_HTTPS")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = False  # the reverse proxy redirects
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # so it wants no warning
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = "agentops_session"
SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "manifest-src": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
    }
}

# --- The product's own settings -----------------------------------------------------------------

#: Largest OTLP body, on the wire and after decompression, in bytes.
INGEST_MAX_COMPRESSED_BYTES = 16 * 1024 * 1024
INGEST_MAX_BODY_BYTES = 16 * 1024 * 1024
#: Most spans that one request may carry.
INGEST_MAX_SPANS = 20_000
#: Message text longer than this many characters is cut, with a mark.
INGEST_MAX_TEXT_CHARS = 65_536
#: Whether prompt, completion and tool text is kept at all.
INGEST_KEEP_CONTENT = _flag("AGENTOPS_KEEP_CONTENT", default=True)
#: How long spans and message text stay, in days.
SPAN_RETENTION_DAYS = int(os.environ.get("AGENTOPS_SPAN_RETENTION_DAYS", "90"))
CONTENT_RETENTION_DAYS = int(os.environ.get("AGENTOPS_CONTENT_RETENTION_DAYS", "30"))
#: Spans dated before this many days ago or 10 minutes ahead are booked at their time of receipt.
CLOCK_PAST_DAYS = 400
CLOCK_FUTURE_SECONDS = 600
#: A run without a root span counts as running until it has been silent for this long.
RUN_IDLE_SECONDS = 600
#: Networks whose monitors may read ``/metrics`` without signing in.
METRICS_NETWORKS = os.environ.get("AGENTOPS_METRICS_NETWORKS", "127.0.0.0/8,::1/128").split(",")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": os.environ.get("AGENTOPS_LOG_LEVEL", "INFO")},
    "loggers": {
        # Without a broker it writes a traceback each second; agentops.live says it once, in a sentence.
        "channels_redis": {"level": "CRITICAL"},
        "httpx": {"level": "WARNING"},
        "uvicorn.access": {"level": "WARNING"},
    },
}
