"""Somebody else was first: what is found out late is decided again, as if it had been known."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

from creditledger.domain.amounts import Credits
from creditledger.domain.errors import KeyReused
from creditledger.domain.events import Granted
from creditledger.domain.ledger import Ledger
from creditledger.domain.price import PriceSet
from creditledger.domain.provider_commands import PurchaseLine, RecordPurchase, SetPrice
from creditledger.domain.receipt import ACCEPTED, Batch, BatchReceipt, Outcome, Receipt, Wish
from creditledger.domain.store import LogEnd, News
from creditledger.domain.turns import QUIET_TURNS
from given_when_then import BOB, NOW, deduct, grant, wish
from memory_store import MemoryStore
from purchase_story import purchase


class LongNews(MemoryStore):
    """A log with more news than is worth reading, once there are more than `most`."""

    most = 10_000

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        with super().turn(seen, wanted) as news:
            is_long = seen is not None and news.end.position - seen.position > self.most
            yield replace(news, changed=None) if is_long else news


def ledger_on(store: MemoryStore) -> Ledger:
    return Ledger(store, now=lambda: NOW)


def all_of(key: str, *wishes: Wish) -> Batch:
    return Batch(
        wishes=wishes, all_or_nothing=True, client_id="shop", key=key, fingerprint=key.encode()
    )


def receipts(outcomes: list[Outcome]) -> list[Receipt]:
    told = [one.receipt if isinstance(one, BatchReceipt) else one for one in outcomes]
    assert all(isinstance(one, Receipt) for one in told), told
    return [one for one in told if isinstance(one, Receipt)]


def be_alone(ledger: Ledger) -> None:
    """Write alone for so long that no turns are taken any more."""
    for _ in range(QUIET_TURNS + 1):
        ledger.handle([wish(grant(1, customer_id="somebody"))])


# Keys that were used elsewhere, of what saves no receipt.


def test_a_dry_run_is_told_what_the_key_was_told_elsewhere() -> None:
    """9.5"""
    store = MemoryStore()
    one, other = ledger_on(store), ledger_on(store)
    one.handle([wish(grant(100)), wish(deduct(60), "job")])
    again, reused = other.handle(
        [wish(deduct(60), "job", dry_run=True), wish(deduct(61), "job", dry_run=True)]
    )
    assert isinstance(again, Receipt)
    assert (again.outcome, again.replayed) == (ACCEPTED, True)
    assert isinstance(reused, KeyReused)
    assert len(store.log) == 2


def test_a_dry_batch_is_told_what_its_keys_were_told_elsewhere() -> None:
    """9.5"""
    store = MemoryStore()
    one, other = ledger_on(store), ledger_on(store)
    one.handle([wish(grant(100)), wish(deduct(60), "job")])
    done = all_of("batch", wish(deduct(10), "next"))
    one.handle([done])
    fresh = all_of("new", wish(deduct(60), "job"), wish(deduct(30), "other"))
    told, again = other.handle([replace(fresh, dry_run=True), replace(done, dry_run=True)])
    assert isinstance(told, BatchReceipt)
    assert [r.replayed for r in told.results if isinstance(r, Receipt)] == [True, False]
    assert isinstance(again, BatchReceipt)
    assert again.receipt.replayed
    assert len(store.log) == 3


# Keys that were used elsewhere, in batches of all or nothing.


def test_what_was_done_elsewhere_is_not_refused_in_a_batch() -> None:
    """9.2, 9.5: a refused batch leaves no receipts that could be in each other's way."""
    store = MemoryStore()
    one, other = ledger_on(store), ledger_on(store)
    done = wish(deduct(60), "job")
    assert [r.outcome for r in receipts(one.handle([wish(grant(100)), done]))] == [ACCEPTED] * 2
    [told] = other.handle([all_of("batch", done, wish(deduct(30), "next"))])
    assert isinstance(told, BatchReceipt)
    assert [r.replayed for r in told.results if isinstance(r, Receipt)] == [True, False]
    assert receipts([told])[0].outcome == ACCEPTED


def test_a_key_of_another_command_is_told_before_what_is_refused() -> None:
    """9.2"""
    store = MemoryStore()
    one, other = ledger_on(store), ledger_on(store)
    one.handle([wish(grant(100)), wish(deduct(1), "job")])
    batch = all_of("batch", wish(deduct(70), "job"), wish(deduct(60), "next"))
    [told] = receipts(other.handle([batch]))
    assert told.answer["refused_code"] == "idempotency_key_reused"
    assert told.answer["index"] == 0


# The order in which it is decided again.


def bought_beside_a_price(store: LongNews, most: int, *, price_first: bool) -> list[Receipt]:
    """A purchase of two prices, of which another ledger has just set one, and this one the other.

    This ledger has looked at the first price before, when nobody knew what it is worth.
    """

    def price(price_id: str) -> Wish:
        return wish(SetPrice(provider="stripe", price_id=price_id, credits=Credits(5)))

    def buying(name: str, *price_ids: str) -> RecordPurchase:
        lines = tuple(PurchaseLine(price_id=price_id) for price_id in price_ids)
        return purchase(provider_id=name, lines=lines)

    one, other = ledger_on(store), ledger_on(store)
    one.handle([wish(buying("pi_0", "p1"))])
    be_alone(one)
    store.most = most
    other.handle([price("p1"), *[wish(grant(1, customer_id="else"))] * 5])
    items = [price("p2"), wish(buying("pi_1", "p1", "p2"))]
    return receipts(one.handle(items if price_first else items[::-1]))


def test_what_was_decided_before_long_news_is_decided_again() -> None:
    _, bought = bought_beside_a_price(LongNews(), 3, price_first=True)
    assert bought.answer["status"] == "paid"


def test_nothing_rests_on_what_is_saved_after_it() -> None:
    store = LongNews()
    bought, _ = bought_beside_a_price(store, 10_000, price_first=False)
    assert bought.answer["waits_for"] == "price:stripe:p2"
    [set_at] = [n for n, e in enumerate(store.log) if isinstance(e, PriceSet) and n > 10][-1:]
    assert not [e for e in store.log[:set_at] if isinstance(e, Granted) and e.payment_id]


def test_a_replay_stands_where_its_first_answer_does() -> None:
    store = MemoryStore()
    one, other = ledger_on(store), ledger_on(store)
    one.handle([wish(grant(1)), wish(grant(100, customer_id=BOB))])
    be_alone(one)
    other.handle([wish(grant(50))])
    same = wish(deduct(5, customer_id=BOB), "same")
    [batch, alone] = one.handle([all_of("batch", wish(deduct(10), "first"), same), same])
    assert isinstance(batch, BatchReceipt)
    [_, told] = [r for r in batch.results if isinstance(r, Receipt)]
    [again] = receipts([alone])
    assert (told.replayed, again.replayed) == (False, True)
    assert told.position == again.position == len(store.log)
