"""Clients of kafka-python that leave nothing behind where no broker answers.

Version 3.0 forgets to close the socket of a connection that was refused, and all that a client
has opened where it finds no broker in time. Python closes them when it looks for dead cycles,
which a process with much in memory does so seldom that an outage would use up its descriptors.
And a producer does not close while something that it sent is neither acknowledged nor given up.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

T = TypeVar("T")

#: What a client is given as its `proxy_url`: no proxy, and the sockets below.
DIRECTLY: Final = "direct://"


class ClosedSocket(KafkaNetSocket):  # type: ignore[misc]  # kafka-python has no types
    """Connects as the library does, and closes what could not be connected."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("direct",)

    async def sock_connect(
        self, net: Any, sock: socket.socket, sockaddr: Any, timeout_at: float | None = None
    ) -> socket.socket:
        """The socket, connected to the address."""
        try:
            connected: socket.socket = await super().sock_connect(net, sock, sockaddr, timeout_at)
        except BaseException:
            sock.close()
            raise
        return connected


def opened(client: Callable[..., T], *topics: str, **options: Any) -> T:
    """A client for these topics; where it finds no broker, what it has opened is closed."""
    made: list[Any] = []

    def net_client(**configuration: Any) -> Any:
        made.append(KafkaNetClient(**configuration))
        return made[-1]

    try:
        return client(*topics, **options, kafka_client=net_client, proxy_url=DIRECTLY)
    except BaseException:
        for one in made:
            one.close()
        raise


def closed(producer: KafkaProducer, *, timeout_seconds: float) -> None:
    """Close a producer within this time, even where it never hears of what it has sent.

    Raises KafkaTimeoutError where its thread does not end, which then ends with the process.
    """
    with suppress(KafkaTimeoutError):
        producer.close(timeout=timeout_seconds / 2)
        return
    # What `close` should have done by itself once its time was over.
    producer._sender.force_close()
    producer.close(timeout=timeout_seconds / 2)
