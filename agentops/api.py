"""The HTTP API: one ninja application, a router from each app, problem+json errors."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, AuthorizationError, HttpError, ValidationError
from ninja.openapi.docs import DocsBase
from ninja.security import HttpBearer, SessionAuth

from agentops.accounts.actions import authenticate_token
from agentops.accounts.models import ApiToken
from agentops.costs.api import router as costs
from agentops.pages import page_context
from agentops.runs.api import router as runs

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    409: "Conflict",
    422: "Not valid",
}


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


class Page(DocsBase):
    """Documentation on a page of ours: no script or style from elsewhere, so the policy stays strict."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        """The page; it reads the schema that lies beside it."""
        del kwargs
        schema = api.get_openapi_schema()
        operations = [
            {"method": method.upper(), "path": path, **operation}
            for path, methods in schema["paths"].items()
            for method, operation in methods.items()
        ]
        context = {"api": api, "operations": operations, **page_context(request)}
        return render(request, "api/docs.html", context)


api = NinjaAPI(
    title="agentops",
    version="1",
    description="What each run, user, feature, agent and model costs.",
    auth=[Token(), SessionAuth(csrf=True)],
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


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    detail = "; ".join(f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in error.errors)
    return problem(request, 422, detail or "The request is not valid.", errors=error.errors)


api.add_router("", runs)
api.add_router("", costs)
