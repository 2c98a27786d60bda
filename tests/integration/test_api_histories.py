"""What happened to one thing, told to its end, however much it was."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from api_server import PATIENCE_SECONDS, Api, new_customer, new_key

#: More than a page holds where nobody says how many.
MANY = 130

SEVERAL = 3


def repeated(api: Api, times: int, kind: str, **fields: Any) -> int:
    """The position after one and the same command was done so many times."""
    items = [{"type": kind, "idempotency_key": new_key(), **fields} for _ in range(times)]
    told = api.done("/v1/batches", {"commands": items, "mode": "all_or_nothing"})
    position: int = told["position"]
    return position


def read_up_to(api: Api, position: int) -> None:
    """Wait until every read model shows this position."""
    deadline = monotonic() + PATIENCE_SECONDS
    while monotonic() < deadline:
        models = api.http.get("/readyz").json()["projections"]
        if models and all(model["position"] >= position for model in models):
            return
        sleep(0.01)
    raise AssertionError(f"the read models did not reach {position}: {models}")


def granted_and_spent(api: Api, times: int) -> str:
    """A grant that was spent from so many times."""
    customer = new_customer()
    grant_id: str = api.granted(customer, MANY)["grant_id"]
    read_up_to(api, repeated(api, times, "deduct", customer_id=customer, amount=1))
    return f"/v1/grants/{grant_id}"


def deducted_and_refunded(api: Api, times: int) -> str:
    """A deduction of which so many parts were refunded."""
    customer = new_customer()
    api.granted(customer, MANY)
    spent = api.done(f"/v1/customers/{customer}/deductions", {"amount": MANY})
    deduction_id = spent["deduction_id"]
    read_up_to(api, repeated(api, times, "refund", deduction_id=deduction_id, amount=1))
    return f"/v1/deductions/{deduction_id}"


def held_and_captured(api: Api, times: int) -> str:
    """A hold of which so many parts were captured."""
    customer = new_customer()
    api.granted(customer, 2 * MANY)
    hold_id = api.done(f"/v1/customers/{customer}/holds", {"amount": 2 * MANY})["hold_id"]
    position = repeated(api, times, "capture", hold_id=hold_id, amount=1, final=False)
    read_up_to(api, position)
    return f"/v1/holds/{hold_id}"


EVERY_KIND = pytest.mark.parametrize(
    ("prepare", "begins", "goes_on"),
    [
        (granted_and_spent, ["grant"], "deduction"),
        # A deduction is its own first entry.
        (deducted_and_refunded, [], "refund"),
        (held_and_captured, ["hold"], "deduction"),
    ],
    ids=["grant", "deduction", "hold"],
)


def page(api: Api, path: str, **query: Any) -> dict[str, Any]:
    response = api.http.get(path, params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def pages(api: Api, path: str, **query: Any) -> Iterator[dict[str, Any]]:
    """All pages, from the first one to the one that says that it is the last."""
    found = page(api, path, **query)
    yield found
    while found["next_cursor"] is not None:
        found = page(api, path, **query, cursor=found["next_cursor"])
        yield found


@EVERY_KIND
def test_a_long_history_is_told_to_its_end(
    api: Api, prepare: Any, begins: list[str], goes_on: str
) -> None:
    path = prepare(api, MANY)

    told = list(pages(api, path))
    by_fifty = list(pages(api, path, limit=50))
    at_once = page(api, path, limit=1_000)

    assert [len(found["history"]) for found in told] == [100, MANY - 100 + len(begins)]
    whole = [entry for found in told for entry in found["history"]]
    positions = [entry["position"] for entry in whole]
    assert positions == sorted(set(positions), reverse=True)
    assert [entry["kind"] for entry in whole] == [goes_on] * MANY + begins
    assert whole == at_once["history"] == [e for found in by_fifty for e in found["history"]]
    assert at_once["next_cursor"] is None
    # What is told of the thing itself is the same on every page.
    beside = [_without_history(found) for found in (*told, *by_fifty, at_once)]
    assert all(one == beside[0] for one in beside)


def _without_history(found: dict[str, Any]) -> dict[str, Any]:
    return {name: said for name, said in found.items() if name not in ("history", "next_cursor")}


@EVERY_KIND
def test_a_short_history_is_told_at_once(
    api: Api, prepare: Any, begins: list[str], goes_on: str
) -> None:
    path = prepare(api, SEVERAL)

    found = page(api, path)

    assert [entry["kind"] for entry in found["history"]] == [goes_on] * SEVERAL + begins
    assert found["next_cursor"] is None
    # A page that holds just all of it is the last one.
    assert page(api, path, limit=len(found["history"]))["next_cursor"] is None


@EVERY_KIND
def test_a_history_begins_after_its_own_cursors_only(
    api: Api, prepare: Any, begins: list[str], goes_on: str
) -> None:
    path, other = prepare(api, SEVERAL), prepare(api, SEVERAL)
    own, cursor = (page(api, found, limit=1)["next_cursor"] for found in (path, other))
    customer = page(api, path)["customer_id"]
    of_entries = page(api, f"/v1/customers/{customer}/entries", limit=1)["next_cursor"]

    for wrong in (cursor, of_entries, own[:-1], "1", ""):
        response = api.http.get(path, params={"cursor": wrong})

        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "invalid_request"), wrong
        assert problem["field"] == "cursor"
    whole = page(api, path)["history"]
    assert page(api, path, cursor=own)["history"] == whole[1:]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.0", ""])
def test_a_page_of_a_history_has_bounds(api: Api, limit: str) -> None:
    response = api.http.get("/v1/grants/nonsense", params={"limit": limit})

    assert (response.status_code, response.json()["field"]) == (422, "limit")


def test_the_document_says_how_a_history_goes_on(api: Api) -> None:
    document = api.http.get("/openapi.json").json()

    for what in ("grant", "deduction", "hold"):
        operation = document["paths"][f"/v1/{what}s/{{{what}_id}}"]["get"]
        assert {"limit", "cursor"} <= {asked["name"] for asked in operation["parameters"]}
        model = document["components"]["schemas"][f"{what.capitalize()}Detail"]
        assert {"history", "next_cursor"} <= set(model["required"])
