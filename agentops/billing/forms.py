"""What people fill in about invoices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import FileExtensionValidator

from agentops.billing.actions import PROVIDERS
from agentops.billing.models import Invoice
from agentops.billing.reconciliation import DEFAULT_TOLERANCE, list_invoices
from agentops.catalog.queries import ownership
from agentops.domain.invoices import FIELDS, GENERIC, LAYOUTS, MAX_BYTES, NANO_DIGITS, Layout, generic, to_nano
from agentops.domain.reconciliation import Tolerance

#: Beside the invoices that a file may replace.
NEW, ADDS = "", "adds"
_RECOGNISED = ""
_DAYS = (("iso", "2026-10-31"), ("dmy", "31.10.2026"), ("mdy", "10/31/2026"))


class ToleranceForm(forms.Form):
    """What an invoice may differ by: dollars, or percent of what is billed."""

    absolute_usd = forms.DecimalField(
        label="Tolerance in dollars",
        min_value=0,
        max_value=1_000_000,
        decimal_places=9,
        initial=Decimal(DEFAULT_TOLERANCE.absolute_nano).scaleb(-NANO_DIGITS).normalize(),
    )
    percent = forms.DecimalField(
        label="Tolerance in percent", min_value=0, max_value=100, decimal_places=2, initial=DEFAULT_TOLERANCE.percent
    )

    def tolerance(self) -> Tolerance:
        """What was asked for."""
        return Tolerance(to_nano(self.cleaned_data["absolute_usd"]), self.cleaned_data["percent"])


class InvoiceForm(ToleranceForm):
    """A file, what it is, and what it has to do with the invoices that are there."""

    file = forms.FileField(
        label="File", validators=[FileExtensionValidator(["csv", "tsv", "txt"], "This is no CSV file.")]
    )
    layout = forms.ChoiceField(
        required=False,
        choices=[
            (_RECOGNISED, "Recognise it"),
            *((layout.name, layout.label) for layout in LAYOUTS.values()),
            (GENERIC, "Another: I name the columns"),
        ],
    )
    provider = forms.ChoiceField(required=False, choices=[("", "As the file says"), *list(PROVIDERS.items())[:-1]])
    name = forms.CharField(required=False, max_length=120)
    service = forms.ChoiceField(required=False, label="Compare with")
    replaces = forms.ChoiceField(required=False, label="Other invoices")
    day_format = forms.ChoiceField(required=False, choices=_DAYS, initial="iso", label="Days look like")
    day = forms.CharField(required=False, max_length=200)
    model = forms.CharField(required=False, max_length=200)
    amount = forms.CharField(required=False, max_length=200)
    currency = forms.CharField(required=False, max_length=200)
    quantity = forms.CharField(required=False, max_length=200)
    unit = forms.CharField(required=False, max_length=200)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        services = [("", "All services"), *((slug, slug) for slug in sorted(ownership()))]
        self.fields["service"].choices = services  # type: ignore[attr-defined]
        self.invoices = {str(invoice.pk): invoice for invoice in list_invoices()}
        replaced = ((pk, f"Replaces “{invoice.name}”") for pk, invoice in self.invoices.items())
        self.fields["replaces"].choices = [  # type: ignore[attr-defined]
            (NEW, "New days"),
            (ADDS, "Adds to what is there"),
            *replaced,
        ]

    def clean_file(self) -> UploadedFile[bytes]:
        """The file, unless it is too large to be read at all."""
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        if (file.size or 0) > MAX_BYTES:
            message = f"The file is larger than {MAX_BYTES // 1024**2} MiB. Export fewer days at once."
            raise forms.ValidationError(message)
        return file

    def layout_asked(self) -> Layout | None:
        """The layout that was chosen; ``None`` to recognise it. Raises ``UnreadableFileError``."""
        asked = self.cleaned_data
        if asked["layout"] == GENERIC:
            columns = {name: asked[name].strip() for name in FIELDS}
            return generic(columns, provider=asked["provider"], day_format=asked["day_format"] or "iso")
        return LAYOUTS.get(asked["layout"])

    def replaced(self) -> Invoice | None:
        """The invoice that the file replaces."""
        return self.invoices.get(self.cleaned_data["replaces"])
