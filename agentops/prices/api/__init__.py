"""The prices app over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

from ninja import Router

from agentops.prices.api.book import router as of_book
from agentops.prices.api.repricing import router as of_repricing

router = Router()
router.add_router("", of_book)
router.add_router("", of_repricing)
