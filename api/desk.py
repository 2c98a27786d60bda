"""The desk: takes wishes to the writer, and says what they were told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Final, TypeVar

import orjson
from starlette.responses import Response

from creditledger.api import problems
from creditledger.api.metrics import Metrics
from creditledger.api.problems import Problem
from creditledger.domain import commands as c
from creditledger.domain.errors import LedgerError
from creditledger.domain.receipt import (
    ACCEPTED,
    Batch,
    BatchReceipt,
    Outcome,
    Receipt,
    Wish,
    told_and_asked,
)
from creditledger.domain.store import Unavailable
from creditledger.infra.group_commit import Overloaded
from creditledger.infra.wiring import Service

T = TypeVar("T")

#: How long a command waits for another one with its key; many times what a command takes.
COMMAND_WAIT_SECONDS: Final = 10.0

#: Commands that make nothing that has an id of its own.
_CHANGES_ONLY: Final = frozenset({c.ReleaseHold.NAME, c.ChangeExpiry.NAME, c.SetOverageLimit.NAME})


class Desk:
    """One process's way to the writer. For one event loop."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.authenticator = service.authenticator
        self._writer = service.writer
        self._metrics = metrics
        #: Commands that are being decided, by client and key.
        self._running: dict[tuple[str, str], asyncio.Future[None]] = {}
        # One thread: side by side, none would be done when the writer needs it. And not one of the
        # event loop's own, which read the log and explain: these do not wait here.
        self._aside = ThreadPoolExecutor(1, "aside")

    def close(self) -> None:
        """Take nothing more aside; what waits there is still worked out."""
        self._aside.shutdown(wait=False)

    def require_room(self, name: str) -> None:
        """Raise Problem where a command of this name would be refused for want of room.

        Whoever asks before reading a request keeps the time for those that are decided.
        """
        try:
            self._writer.require_room()
        except Overloaded as error:
            self._metrics.command(name, "overloaded")
            raise problems.overloaded(error.retry_after_seconds) from None

    async def decide(self, item: Wish | Batch) -> Outcome:
        """What the item is told, after the commit.

        Raises Problem where another one with the same key runs for too long, where the queue is
        full, and where the outcome is unknown.
        """
        if item.key is None:
            return await self._submit(item)
        name = (item.client_id, item.key)
        if name in self._running:
            await self._wait_for(name, item.key)
        running = asyncio.get_running_loop().create_future()
        self._running[name] = running
        try:
            return await self._submit(item)
        finally:
            del self._running[name]
            running.set_result(None)

    async def _wait_for(self, name: tuple[str, str], key: str) -> None:
        deadline = monotonic() + COMMAND_WAIT_SECONDS
        while (running := self._running.get(name)) is not None:
            left = deadline - monotonic()
            if left <= 0:
                raise Problem(
                    "command_in_progress",
                    f"The command with the key {key} is still running. Ask again for its answer.",
                    {"Retry-After": str(problems.RETRY_AFTER_SECONDS)},
                    idempotency_key=key,
                )
            await asyncio.wait((running,), timeout=left)

    async def _submit(self, item: Wish | Batch) -> Outcome:
        try:
            outcome = await self._writer.submit_async(item)
        except Overloaded as error:
            self._count(item, "overloaded")
            raise problems.overloaded(error.retry_after_seconds) from None
        except Unavailable:
            self._count(item, "unavailable")
            raise problems.unavailable() from None
        self._count(item, outcome)
        return outcome

    def _count(self, item: Wish | Batch, outcome: Outcome | str) -> None:
        if isinstance(item, Wish):
            self._metrics.command(item.command.NAME, _name_of(outcome))
            return
        told = outcome.results if isinstance(outcome, BatchReceipt) else [outcome]
        names = zip(item.wishes, told, strict=False)
        counted = Counter((wish.command.NAME, _name_of(one)) for wish, one in names)
        for (name, what), number in counted.items():
            self._metrics.command(name, what, number)

    # Saying.

    async def aside(self, work: Callable[[], T]) -> T:
        """What takes long to work out, in a thread, while the writer waits."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._aside, self._writer.lulls.run, work)

    def respond(self, item: Wish | Batch, outcome: Outcome) -> Response:
        """The response to an item that was told this."""
        if isinstance(outcome, LedgerError):
            return problems.respond(problems.body_of_error(outcome))
        if isinstance(outcome, BatchReceipt):
            assert isinstance(item, Batch)
            receipt = outcome.receipt
            status, body = _batch(item, outcome)
        else:
            receipt = outcome
            status, body = _told(receipt, dry_run=item.dry_run)
        headers = replayed(receipt)
        if status >= 400:
            return problems.respond(body, headers)
        return Response(orjson.dumps(body), status, headers, "application/json")


def replayed(receipt: Receipt) -> dict[str, str] | None:
    """The header of an answer that was given before."""
    return {"Idempotency-Replayed": "true"} if receipt.replayed else None


def _name_of(outcome: Outcome | str) -> str:
    """An outcome as metrics count it."""
    if isinstance(outcome, Receipt):
        return outcome.outcome
    if isinstance(outcome, BatchReceipt):
        return outcome.receipt.outcome
    return outcome.code if isinstance(outcome, LedgerError) else outcome


def _told(receipt: Receipt, *, dry_run: bool) -> tuple[int, dict[str, Any]]:
    """The status and the body for one command, whether it was accepted or refused."""
    if receipt.outcome != ACCEPTED:
        return _refused(receipt, dry_run=dry_run)
    status = 200 if dry_run or receipt.command in _CHANGES_ONLY else 201
    return status, {**receipt.answer, **_proof(receipt, dry_run=dry_run)}


def _batch(batch: Batch, outcome: BatchReceipt) -> tuple[int, dict[str, Any]]:
    receipt, dry_run = outcome.receipt, batch.dry_run
    if receipt.outcome != ACCEPTED:
        return _refused(receipt, dry_run=dry_run)
    results = [
        _item(wish, told, dry_run=dry_run)
        for wish, told in zip(batch.wishes, outcome.results, strict=True)
    ]
    return 200, {"results": results, **_proof(receipt, dry_run=dry_run)}


def _item(wish: Wish, told: Receipt | LedgerError, *, dry_run: bool) -> dict[str, Any]:
    if isinstance(told, LedgerError):
        item = problems.body_of_error(told)
    else:
        status, body = _told(told, dry_run=dry_run)
        item = {"status": status, **body}
    if wish.key is not None:
        item["idempotency_key"] = wish.key
    if isinstance(told, Receipt) and told.replayed:
        item["replayed"] = True
    return item


def _refused(receipt: Receipt, *, dry_run: bool) -> tuple[int, dict[str, Any]]:
    values, _ = told_and_asked(receipt.answer)
    values.update(_proof(receipt, dry_run=dry_run))
    body = problems.body_of(receipt.outcome, values.pop("detail"), values)
    return body["status"], body


def _proof(receipt: Receipt, *, dry_run: bool) -> dict[str, Any]:
    if dry_run:
        return {"position": receipt.position, "dry_run": True}
    return {"position": receipt.position, "receipt_id": receipt.public_id}
