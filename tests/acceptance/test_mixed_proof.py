"""The proof of a tortured history holds for a calm one, and finds what is wrong with one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mixed_load import Client, Command, Read
from mixed_proof import Proof
from processes import Process

pytestmark = pytest.mark.slow

_SECONDS = 4.0
_CUSTOMERS = ["calm-1", "calm-2"]


@dataclass
class History:
    """What a client did, and the log as it was then."""

    proof: Proof
    commands: list[Command]
    reads: list[Read]

    def prove(self) -> None:
        self.proof.once_or_never(self.commands)
        self.proof.in_real_time(self.commands, self.reads)

    def first(self, wanted: Callable[[Command], bool]) -> Command:
        return next(command for command in self.commands if wanted(command))


@pytest.fixture(scope="module")
def played(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> History:
    folder: Path = tmp_path_factory.mktemp("calm")
    with (
        Process("serve", shared_database_url, folder) as service,
        Process("work", shared_database_url, folder),
    ):
        client = Client(0, 1, [service.url], _CUSTOMERS)
        stop = threading.Event()
        threading.Timer(_SECONDS, stop.set).start()
        client.press(stop)
        client.settle()
    return History(Proof(shared_database_url), client.commands, client.reads)


@pytest.fixture
def history(played: History) -> History:
    return History(played.proof, deepcopy(played.commands), list(played.reads))


def test_a_calm_history_is_as_promised(history: History) -> None:
    assert len(history.commands) > 20
    assert history.reads
    history.prove()


def _is_refused(command: Command) -> bool:
    return command.status == 402


def _is_done(command: Command) -> bool:
    return command.status == 201


def a_refusal_was_told_as_done(history: History) -> None:
    history.first(_is_refused).status = 201


def what_was_done_was_told_as_refused(history: History) -> None:
    done = history.first(_is_done)
    done.status, done.answer["code"] = 402, "insufficient_credits"


def nobody_asked_for_it(history: History) -> None:
    history.commands.remove(history.first(_is_done))


def an_acknowledged_command_is_not_there(history: History) -> None:
    history.first(_is_done).key = "lost"


def an_answer_came_from_the_past(history: History) -> None:
    late = history.first(_is_done)
    late.asked = late.answered = history.commands[-1].answered + 1


def a_balance_was_never_there(history: History) -> None:
    exact = next(read for read in history.reads if read.exact and any(read.balance.values()))
    wrong = {**exact.balance, "available": exact.balance["available"] + 1_000}
    history.reads.append(replace(exact, balance=wrong))


@pytest.mark.parametrize(
    "tamper",
    [
        a_refusal_was_told_as_done,
        what_was_done_was_told_as_refused,
        nobody_asked_for_it,
        an_acknowledged_command_is_not_there,
        an_answer_came_from_the_past,
        a_balance_was_never_there,
    ],
)
def test_what_is_wrong_is_found(history: History, tamper: Callable[[History], None]) -> None:
    tamper(history)
    with pytest.raises(AssertionError):
        history.prove()
