"""The demo: `make demo` plays it against the running service, as outside clients would.

Its chapters are the main job and the life of a subscription. Every figure is checked: the exit code
is 1 where one is wrong.

Environment: CREDITLEDGER_URL, CREDITLEDGER_API_KEY (scopes commands, read, admin),
CREDITLEDGER_STRIPE_WEBHOOK_SECRETS and CREDITLEDGER_POLAR_WEBHOOK_SECRETS as the service has them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import httpx

import main_job
import subscription
from demo_client import Demo


def play() -> Sequence[Demo]:
    """Play all chapters; return whose stories they were."""
    chapters = []
    for chapter in (main_job, subscription):
        chapters.append(chapter.play())
        print()
    return chapters


def judged(chapters: Sequence[Demo]) -> int:
    """Say whether every figure was right; 0 where it was."""
    wrong = sum(demo.wrong for demo in chapters)
    print(f"{wrong} figures are wrong." if wrong else "Every figure is right.")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(judged(play()))
    except httpx.HTTPError as error:
        sys.exit(f"The service did not answer ({error}). Is it running? Start it with `make run`.")
