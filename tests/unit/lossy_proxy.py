"""A wire to PostgreSQL that can be cut just when the server's answer comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

_CHUNK = 65_536


class LossyProxy:
    """Forwards connections to a server, until the answer to something is to be lost."""

    def __init__(self, url: str) -> None:
        self._parts = conninfo_to_dict(url)
        self._marker: bytes | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The database's address through this wire."""
        port = self._listener.getsockname()[1]
        options = urlencode({"sslmode": "disable", "gssencmode": "disable"})
        login = str(self._parts["user"])
        if password := self._parts.get("password"):
            login += f":{password}"
        return f"postgresql://{login}@127.0.0.1:{port}/{self._parts['dbname']}?{options}"

    def lose_answer_to(self, marker: bytes) -> None:
        """Cut the wire, once, when the server answers a message that holds these bytes."""
        self._marker = marker

    def close(self) -> None:
        """Take no further connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._parts["host"]), int(self._parts.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _forward(self, client: socket.socket) -> None:
        with client, self._connect() as server, suppress(OSError):
            losing = False
            while True:
                for source in select([client, server], [], [])[0]:
                    data = source.recv(_CHUNK)
                    if not data:
                        return
                    if source is client:
                        losing = self._marker is not None and self._marker in data
                        server.sendall(data)
                    elif losing:
                        self._marker = None
                        return
                    else:
                        client.sendall(data)


@contextmanager
def lossy(url: str) -> Iterator[LossyProxy]:
    """A wire to the database."""
    proxy = LossyProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
