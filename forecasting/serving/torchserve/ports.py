"""The four ports that TorchServe listens on, all on loopback, and the first port of its workers."""

import random
import socket
from contextlib import ExitStack, suppress

from forecasting.errors import CannotStart
from forecasting.settings.schema import ServingConfig

HOST = "127.0.0.1"
FREE_PORTS = range(20_000, 32_768)  # systems give those above to outgoing connections


def choose_ports(serving: ServingConfig) -> dict[str, int]:
    """The configured ports, each checked to be free; a free one where 0 is configured.

    Raises CannotStart, naming the process that holds a port.
    """
    with ExitStack() as held:  # all of them until the last is chosen, so that no two are the same
        chosen = {
            f"{name}_port": _hold_port(port, f"{name} ", held) for name, port in serving.each_torchserve_port.items()
        }
        # Workers count up from here. On Linux the number only names their sockets; elsewhere it is a port.
        return {**chosen, "initial_worker_port": _hold_port(0, "", held)}


def find_free_port() -> int:
    """One for a server that listens later: no connection of another program gets it until then."""
    with ExitStack() as held:
        return _hold_free_port(held)


def _hold_free_port(held: ExitStack) -> int:
    for port in random.sample(FREE_PORTS, 1000):
        listener = held.enter_context(socket.socket())
        with suppress(OSError):
            listener.bind((HOST, port))
            return port
    raise CannotStart(f"Of the ports {FREE_PORTS.start} to {FREE_PORTS.stop - 1} none seems to be free. Name others.")


def _hold_port(port: int, name: str, held: ExitStack) -> int:
    if not port:
        return _hold_free_port(held)
    listener = held.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise CannotStart(
            f"TorchServe's {name}port {port} cannot be used: {error.strerror}{find_owner(port)}. "
            "Stop that process, or set serving.torchserve_ports=0 for any free ports."
        ) from error
    return int(listener.getsockname()[1])


def find_owner(port: int) -> str:
    """`, held by NAME (process N)`; empty if that cannot be seen."""
    import psutil

    try:
        owners = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.laddr and connection.laddr.port == port and connection.pid
        ]
        return f", held by {psutil.Process(owners[0]).name()} (process {owners[0]})" if owners else ""
    except psutil.Error:  # another user's process, or one that has just ended
        return ""
