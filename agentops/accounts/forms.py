"""The forms of the accounts app."""

from __future__ import annotations

from django.contrib.auth.forms import AuthenticationForm


class SignInForm(AuthenticationForm):
    """Name and password; what goes wrong is said without telling which of them was wrong."""

    error_messages = {  # noqa: RUF012  (Django's form reads it so)
        "invalid_login": "This name and password do not fit together. Passwords are case-sensitive.",
        "inactive": "This account is switched off. Ask an admin.",
    }
