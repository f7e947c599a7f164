"""The HTTP API: one ninja application, a router from each app, problem+json errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI, Router
from ninja.errors import AuthenticationError, AuthorizationError, HttpError, ValidationError
from ninja.openapi.docs import DocsBase
from ninja.security import HttpBearer, SessionAuth

from agentops.accounts.actions import authenticate_token
from agentops.accounts.models import ApiToken
from agentops.alerts.actions import NotAllowed
from agentops.alerts.api import router as alerts
from agentops.billing.api import router as billing
from agentops.costs.api import router as costs
from agentops.costs.attribution_api import router as attribution
from agentops.guard.api import guard
from agentops.guard.api import router as budgets
from agentops.pages import page_context
from agentops.prices.api import router as prices
from agentops.runs.api import router as runs
from agentops.watch.api import router as watch

logger = logging.getLogger(__name__)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    409: "Conflict",
    413: "Too large",
    422: "Not valid",
    500: "Our fault",
    503: "Not available now",
}
RETRY_AFTER_SECONDS = 5


class Token(HttpBearer):
    """``Authorization: Bearer agt_…``; a token for reading may not write."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        """The token, and on the request the person it speaks for."""
        found = authenticate_token(token)
        if found is None:
            return None
        if request.method not in SAFE_METHODS and found.scope != ApiToken.Scope.WRITE:
            raise AuthorizationError(403, "This token may only read.")
        request.user = found.user
        return found


class Session(SessionAuth):
    """A person who signed in on the pages, with their CSRF token for what changes anything.

    A request that shows a token is judged by the token alone.
    """

    def __call__(self, request: HttpRequest) -> Any:
        """The person, if any; raises 403 for a change without the CSRF token."""
        if request.headers.get("Authorization") or not request.user.is_authenticated:
            return None
        return super().__call__(request)


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter or a member of an answer, in words."""

    name: str
    type: str
    words: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API, in words."""

    method: str
    path: str
    summary: str
    words: str
    parameters: list[Field]
    body: list[Field]
    answer: list[Field]
    example: str


def describe(schema: Mapping[str, Any], root: str) -> dict[str, list[Operation]]:
    """The operations of an OpenAPI schema by tag; ``root`` is the address that an example calls."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(schema, method.upper(), path, operation, root))
    return groups


def _operation(schema: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], root: str) -> Operation:
    parameters = [
        Field(p["name"], _type(schema, p["schema"]), p.get("description") or p["schema"].get("description", ""))
        for p in operation.get("parameters", [])
    ]
    answers: Mapping[object, Any] = operation.get("responses", {})
    ok: Mapping[str, Any] = next((answer for status, answer in answers.items() if str(status).startswith("2")), {})
    example = f"curl {'' if method == 'GET' else f'-X {method} '}-H 'Authorization: Bearer agt_…' {root}{path}"
    return Operation(
        method,
        path,
        operation.get("summary", ""),
        operation.get("description", ""),
        parameters,
        _fields(schema, operation.get("requestBody", {})),
        _fields(schema, ok),
        example,
    )


def _fields(schema: Mapping[str, Any], holder: Mapping[str, Any]) -> list[Field]:
    content = holder.get("content", {}).get("application/json", {}).get("schema", {})
    properties = _resolve(schema, content).get("properties", {})
    found = []
    for name, part in properties.items():
        found.append(Field(name, _type(schema, part), part.get("description", "")))
        members = _resolve(schema, part.get("items", {})).get("properties", {})
        found += [Field(f"{name}[].{m}", _type(schema, p), p.get("description", "")) for m, p in members.items()]
    return found


def _resolve(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    name = part.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = schema["components"]["schemas"][name] if name else part
    return found


def _type(schema: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """A type in words: ``string``, ``list of Run``, ``"ok" or "error"``, ``integer or null``."""
    if "$ref" in part:
        return str(part["$ref"]).rpartition("/")[2]
    if options := part.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(schema, option) for option in options))
    if "enum" in part or "const" in part:
        return " or ".join(f"“{value}”" if value else "empty" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        return f"list of {_type(schema, part.get('items', {}))}"
    return "time" if part.get("format") == "date-time" else str(part.get("type", "anything"))


class Page(DocsBase):
    """Documentation on a page of ours: no script or style from elsewhere, so the policy stays strict."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        """The page, made from the OpenAPI schema, for people who are signed in."""
        del kwargs
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        schema = api.get_openapi_schema()
        root = f"{request.scheme}://{request.get_host()}"
        context = {"api": api, "groups": describe(schema, root), "openapi_url": self.get_openapi_url(api, {})}
        return render(request, "api/docs.html", context | page_context(request))


api = NinjaAPI(
    title="agentops",
    version="1",
    description="What each run, user, feature, agent and model costs.",
    auth=[Token(), Session(csrf=True)],
    docs=Page(),
    urls_namespace="api",
)


def problem(request: HttpRequest, status: int, detail: Any, **more: Any) -> HttpResponse:
    """An error as ``application/problem+json``."""
    body = {"title": TITLES.get(status, "Error"), "status": status, "detail": detail, **more}
    answer = api.create_response(request, body, status=status)
    answer["Content-Type"] = "application/problem+json"
    if status == 401:
        answer["WWW-Authenticate"] = "Bearer"
    return answer


@api.exception_handler(AuthenticationError)
def _unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    del error
    return problem(request, 401, "A token is required: Authorization: Bearer agt_… (or a session).")


@api.exception_handler(HttpError)
def _refused(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem(request, error.status_code, str(error))


@api.exception_handler(Http404)
def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(request, 404, str(error) or "There is nothing at this address.")


@api.exception_handler(NotAllowed)
def _not_in_this_state(request: HttpRequest, error: NotAllowed) -> HttpResponse:
    return problem(request, 409, str(error), state=error.state, acknowledged_by=error.acknowledged_by)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [{"parameter": ".".join(str(part) for part in e["loc"][1:]), "message": e["msg"]} for e in error.errors]
    detail = "; ".join(f"{e['parameter']}: {e['message']}" for e in errors)
    return problem(request, 422, detail or "The request is not valid.", errors=errors)


@api.exception_handler(DatabaseError)
def _unavailable(request: HttpRequest, error: DatabaseError) -> HttpResponse:
    logger.error("the database refused an API request", exc_info=error)
    answer = problem(request, 503, "The database did not answer in time. Try again.")
    answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


@api.exception_handler(Exception)
def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("an API request failed", exc_info=error)
    return problem(request, 500, "The request could not be answered; the log of the server says why.")


fallback = Router()


@fallback.api_operation(["GET", "POST", "PUT", "PATCH", "DELETE"], "/{path:rest}", include_in_schema=False)
def _no_such_address(request: HttpRequest, rest: str) -> HttpResponse:
    return problem(request, 404, f"There is nothing at /{rest}.")


api.add_router("", runs)
api.add_router("", costs)
api.add_router("", attribution)
api.add_router("", billing)
api.add_router("", prices)
api.add_router("", alerts)
api.add_router("", watch)
api.add_router("", budgets)
api.add_router("", guard)
api.add_router("", fallback)  # last: what nothing above took
