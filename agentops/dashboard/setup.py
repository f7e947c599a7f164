"""The set-up page: make a key, copy what sends the first trace, see it arrive."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.validators import RegexValidator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.actions import create_ingest_key, revoke_ingest_key
from agentops.accounts.keys import INGEST_PREFIX, parse
from agentops.accounts.models import IngestKey, Role, User
from agentops.accounts.roles import has_role, require_role
from agentops.catalog.models import Service
from agentops.dashboard import insight
from agentops.dashboard.snippets import PLACEHOLDER, snippets
from agentops.pages import page_context

KEYS_SHOWN = 100
SERVICES_OFFERED = 500


class KeyForm(forms.Form):
    """A new key: for one service, or for a collector that sends those of many."""

    KINDS = (("service", "One service"), ("collector", "A collector"))

    kind = forms.ChoiceField(choices=KINDS, widget=forms.RadioSelect, initial="service")
    service = forms.CharField(
        required=False,
        max_length=128,
        validators=[RegexValidator(r"^[^\x00-\x1f\x7f]+$", "Use printable characters.")],
        widget=forms.TextInput(attrs={"list": "services", "placeholder": "research-assistant", "autocomplete": "off"}),
    )
    name = forms.CharField(
        required=False, max_length=120, widget=forms.TextInput(attrs={"placeholder": "CI", "autocomplete": "off"})
    )

    def clean(self) -> dict[str, Any]:
        """A collector's key has no service; any other needs one."""
        cleaned = super().clean() or {}
        if cleaned.get("kind") == "collector":
            cleaned["service"] = ""
        elif not cleaned.get("service") and "service" not in self.errors:
            self.add_error("service", "Name the service whose spans this key sends.")
        return cleaned


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def setup(request: HttpRequest) -> HttpResponseBase:
    """The page; a POST makes a key and shows it, this once."""
    if request.method == "POST":
        return _create(request)
    return _page(request, KeyForm())


@require_role(Role.OWNER)
def _create(request: HttpRequest) -> HttpResponse:
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    author = request.user if isinstance(request.user, User) else None
    text = create_ingest_key(name=form.cleaned_data["name"], service=form.cleaned_data["service"], created_by=author)
    return _page(request, KeyForm(), new_key=text)


def _page(request: HttpRequest, form: KeyForm, *, new_key: str = "", status: int = 200) -> HttpResponse:
    parsed = parse(new_key, INGEST_PREFIX)
    key = IngestKey.objects.get(key_id=parsed[0]) if parsed else None
    origin = request.build_absolute_uri("/").rstrip("/")
    service = (key.service if key else "") or "my-agent"
    context = page_context(request) | {
        "form": form,
        "may_create": has_role(request.user, Role.OWNER),
        "new_key": new_key,
        "key": key,
        "keys": IngestKey.objects.select_related("created_by")[:KEYS_SHOWN],
        "services": Service.objects.values_list("slug", flat=True)[:SERVICES_OFFERED],
        "snippets": snippets(origin=origin, key=new_key or PLACEHOLDER, service=service),
        "placeholder": "" if new_key else PLACEHOLDER,
    }
    return render(request, "dashboard/setup.html", context, status=status)


@never_cache
@require_safe
def waiting(request: HttpRequest, key_id: str) -> HttpResponse:
    """Whether a key was used and a run has come of it, as the region of the page that waits for it."""
    key = get_object_or_404(IngestKey, key_id=key_id)
    context = {"request": request, "key": key, "run": insight.first_run_after(key) if key.last_used_at else None}
    return render(request, "dashboard/setup.html#waiting", context)


@never_cache
@require_safe
def keys(request: HttpRequest) -> HttpResponse:
    """The list of keys, as the region that renews itself."""
    context = page_context(request) | {
        "keys": IngestKey.objects.select_related("created_by")[:KEYS_SHOWN],
        "may_create": has_role(request.user, Role.OWNER),
    }
    return render(request, "dashboard/setup.html#keys", context)


@require_POST
@require_role(Role.OWNER)
def revoke(request: HttpRequest, key_id: str) -> HttpResponse:
    """End a key."""
    key = revoke_ingest_key(key=get_object_or_404(IngestKey, key_id=key_id))
    messages.success(request, f"The key {key.name or key.key_id} is revoked: its sender is refused within seconds.")
    return redirect("dashboard:setup")
