"""What a ledger has at hand may be older than what it loads beside it (domain/README.md, 11).

Found by the simulation (seed 47): two processes, one of which had the account at hand from before
the other one booked a purchase on it, and was then told of the purchase's refund.
"""

from __future__ import annotations

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import GrantCredits
from creditledger.domain.ledger import Ledger
from purchase_story import CUSTOMER, PACK_IS_500, Story, purchase, refund


def test_news_of_a_payment_whose_grants_another_process_has_booked() -> None:
    story = Story(PACK_IS_500, GrantCredits(customer_id=CUSTOMER, amount=Credits(1)))
    first = story.ledger
    story.ledger = Ledger(story.store, now=lambda: story.now)
    story.tell(purchase())
    assert story.available() == 1001
    story.ledger = first
    story.tell(refund("re_1", 900))
    assert story.available() == 501
