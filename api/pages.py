"""Pages of a listing: how many, and where the next one begins."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from creditledger.api.values import PRINTABLE, integer_in_text

#: Enough for a screen without asking, and for an export without many questions.
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 1_000

Limit = Annotated[
    int,
    BeforeValidator(lambda value: value if isinstance(value, int) else integer_in_text(value)),
    Field(ge=1, le=PAGE_MAX, description="How many at most"),
]


class Page(BaseModel):
    """Which page of a listing."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = PAGE_DEFAULT
    cursor: Annotated[str, Field(max_length=64, pattern=PRINTABLE)] | None = Field(
        default=None, description="`next_cursor` of the page before"
    )


def page_of(items: list[Any], name: str, next_cursor: str | None) -> dict[str, Any]:
    """A page as it is told."""
    return {name: items, "next_cursor": next_cursor}
