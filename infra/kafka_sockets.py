"""Clients of kafka-python that leave no sockets behind where no broker answers.

Version 3.0 forgets to close the socket of a connection that was refused, and all that a client
has opened where it finds no broker in time. Python closes them when it looks for dead cycles,
which a process with much in memory does so seldom that an outage would use up its descriptors.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

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
