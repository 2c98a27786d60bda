"""Binary arrays arrive in PostgreSQL as what they were made of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from creditledger.infra.database import connect
from creditledger.projections.arrays import (
    bigint_array,
    bytea_array,
    text_array,
    timestamptz_array,
    uuid_array,
)

MOMENTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2026, 9, 1, 12, 30, 15, 123_456, timezone(timedelta(hours=5, minutes=45))),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
]
TEXTS = ["", "é😀", None, 'with, "quotes" and {braces}', "NULL"]


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[Connection[Any]]:
    with connect(postgres_url, "tests") as connection:
        yield connection


@pytest.mark.parametrize(
    ("array", "type_name", "values"),
    [
        (uuid_array, "uuid[]", [UUID(int=0), UUID(int=2**128 - 1)]),
        (bigint_array, "bigint[]", [0, 1, -1, 2**53, 2**63 - 1, -(2**63)]),
        (text_array, "text[]", TEXTS),
        (bytea_array, "bytea[]", [b"", b"\x00\xff", b"{" * 70_000]),
        (timestamptz_array, "timestamp with time zone[]", MOMENTS),
        *[
            (array, type_name, [])
            for array, type_name in (
                (uuid_array, "uuid[]"),
                (bigint_array, "bigint[]"),
                (text_array, "text[]"),
                (bytea_array, "bytea[]"),
                (timestamptz_array, "timestamp with time zone[]"),
            )
        ],
    ],
)
def test_an_array_arrives_as_it_was(
    connection: Connection[Any], array: Any, type_name: str, values: list[Any]
) -> None:
    for _ in range(2):
        row = connection.execute("SELECT %s, pg_typeof(%s)::text", [array(values)] * 2).fetchone()
        assert row == (values, type_name)


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        text_array(["a", None, "b\x00"])


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        bigint_array([2**63])
