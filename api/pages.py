"""Pages of a listing: how many, and where the next one begins."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from creditledger.api.values import Text, integer_in_text

#: Enough for a screen without asking, and for an export without many questions.
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 1_000

Limit = Annotated[
    int,
    Field(ge=1, le=PAGE_MAX, description="How many at most"),
    BeforeValidator(integer_in_text),
]


class Page(BaseModel):
    """Which page of a listing."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = PAGE_DEFAULT
    cursor: Annotated[str, Text(64)] | None = Field(
        default=None, description="`next_cursor` of the page before"
    )


def page_of(items: list[Any], name: str, next_cursor: str | None) -> dict[str, Any]:
    """A page as it is told."""
    return {name: items, "next_cursor": next_cursor}
