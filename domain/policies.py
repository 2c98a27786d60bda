"""The policies of the rules: what holds where a command does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from creditledger.domain.events import RevocationPolicy
from creditledger.domain.values import value

#: Smaller is spent first (domain/README.md, 4.2). `transfer` and `refund` keep their origin's.
DEFAULT_PRIORITIES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "subscription": 10,
        "rollover": 15,
        "trial": 20,
        "lead": 20,
        "promotion": 20,
        "referral": 20,
        "gift": 20,
        "bundle": 25,
        "top_up": 30,
        "adjustment": 40,
        "migration": 40,
    }
)

PRIORITY_MAX: Final = 1_000_000


@value(kw_only=True)
class Policies:
    """Set once for a service; a command's own word goes before them."""

    hold_expires_in_default: int = 15 * 60
    hold_expires_in_max: int = 30 * 24 * 60 * 60
    refund_grace: timedelta = timedelta(days=7)
    revocation_policy: RevocationPolicy = "debt"
    priorities: Mapping[str, int] = field(default_factory=lambda: DEFAULT_PRIORITIES)
