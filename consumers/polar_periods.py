"""Which period of a subscription an order of Polar's pays for."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta
from typing import Final

from creditledger.consumers.reading import Reader, period
from creditledger.domain.provider_commands import Period

#: More renewals than a subscription by the day has in ten years.
_STEPS_MAX: Final = 4_000


def period_of_order(
    subscription: Reader, created_at: datetime, *, within: bool = False
) -> Period | None:
    """The period that began with an order, or `within` which it was made; None where untold.

    An order carries its subscription as it stands when the news is sent. Once it has been renewed,
    the period is as many intervals back as the order is old. A period that began on the last days
    of a month may so be told up to three days wrong, as the day on which it is renewed is not told.
    """
    current = period(
        subscription.time_or_none("current_period_start"),
        subscription.time_or_none("current_period_end"),
    )
    if current is None or _fits(current, created_at, within=within):
        return current
    interval = subscription.word("recurring_interval")
    count = subscription.number_or_none("recurring_interval_count", minimum=1) or 1
    end = current.start
    for steps in range(1, _STEPS_MAX + 1):
        start = _back(current.start, interval, steps * count)
        if start is None or start >= end:
            return None
        if _fits(found := Period(start, end), created_at, within=within):
            return found
        end = start
    return None


def _fits(of: Period, created_at: datetime, *, within: bool) -> bool:
    """Whether an order is not too old for a period.

    Of the periods that may begin with it, the one whose beginning is nearest is taken: an order
    may be made a moment before its period, and months have not all one length.
    """
    slack = timedelta() if within else (of.end - of.start) / 2
    return created_at >= of.start - slack


def _back(moment: datetime, interval: str | None, count: int) -> datetime | None:
    """The moment so many intervals before; None where the interval or the calendar ends."""
    try:
        match interval:
            case "day":
                return moment - timedelta(days=count)
            case "week":
                return moment - timedelta(weeks=count)
            case "month":
                return _months_back(moment, count)
            case "year":
                return _months_back(moment, 12 * count)
            case _:
                return None
    except (OverflowError, ValueError):
        return None


def _months_back(moment: datetime, count: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 - count, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)
