"""What changed, in commit order, so that a browser that was away can catch up."""

from __future__ import annotations

from django.db import models


class LiveEvent(models.Model):
    """Topics that one transaction touched: ``runs``, ``spend``, ``run:<trace id>``, ….

    Ids follow the order of commits: they are drawn under a lock held until the commit.
    """

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    topics = models.JSONField()
    data = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.pk}: {self.topics}"
