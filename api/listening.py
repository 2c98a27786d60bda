"""Whether the address is free on which the service is to answer, before anything is started."""

from __future__ import annotations

import errno
import socket
from typing import Any

from creditledger.infra.settings import PREFIX, Settings


class CannotListen(Exception):
    """Nothing can be served at the address that is set."""


def require_free_address(settings: Settings) -> None:
    """Raises CannotListen where somebody else listens there, or it cannot be listened on."""
    place = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        faults: list[OSError | None] = [error]
    else:
        faults = [_fault(family, address) for family, _, _, _, address in found]
    if any(fault is not None and fault.errno == errno.EADDRINUSE for fault in faults):
        raise CannotListen(f"{place} is taken: stop what listens there, or set {PREFIX}PORT")
    # A name may stand for addresses that this machine lacks, as long as it has one of them.
    if faults[0] is not None and None not in faults:
        raise CannotListen(
            f"nothing can listen on {place} ({faults[0].strerror}):"
            f" set {PREFIX}HOST and {PREFIX}PORT to what this machine has"
        )


def _fault(family: int, address: tuple[Any, ...]) -> OSError | None:
    """Why it cannot be listened there, tried as the server does it; None where it can."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections that are ending leave the port free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None
