"""The HTTP API, served: apart from the commands, since all of them would wait for its imports."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from creditledger.api.app import create_app
from creditledger.api.corked import CorkedHttp
from creditledger.api.metrics import Metrics
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import service

#: How long requests in hand may take to finish when we are told to stop.
_GRACE_SECONDS: Final = 10


def serve_http(
    settings: Settings, url: str, *, before: Callable[[], None], listening: Callable[[], None]
) -> None:
    """Serve a migrated database until interrupted.

    `before` is called when all is made, `listening` when requests are taken.
    """
    metrics = Metrics()
    with service(
        settings, url, name="creditledger serve", observe=metrics.commit, warm=True
    ) as running:
        app = create_app(running, metrics)
        before()
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=CorkedHttp,
            access_log=False,
            # The application does so itself where it matters.
            proxy_headers=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        _Server(config, listening).run()


class _Server(uvicorn.Server):
    """One that says when it has begun to listen."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()
