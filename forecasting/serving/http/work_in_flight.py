"""How much memory requests may hold while they are answered: those of each caller, and all together."""

from types import TracebackType

from starlette.types import Scope

MIB = 2**20
FREE_BYTES = 32 * 1024  # of each request, which are not counted: guard.max_connections bounds them
CALLER_SHARE = 0.5  # of the whole, so that no caller locks out all others
RETRY_SECONDS = 1


class TooMuchInFlight(Exception):
    """Nothing more can be held until other answers have been read."""

    def __init__(self, detail: str, *, is_callers: bool) -> None:
        super().__init__(detail)
        self.is_callers = is_callers  # it is the caller's own share that is used up


class WorkInFlight:
    """Bytes that requests hold: of all callers, and of each. Used in one event loop."""

    def __init__(self, megabytes: float) -> None:
        self.limit = int(megabytes * MIB)
        self.num_bytes = 0
        self._by_caller: dict[str, int] = {}

    def open(self, scope: Scope) -> "RequestMemory":
        """For a request, whose caller is its API key, or its address if there are no keys."""
        return RequestMemory(self, scope)

    def take(self, caller: str, num_bytes: int) -> None:
        """Raises TooMuchInFlight."""
        held = self._by_caller.get(caller, 0)
        if held + num_bytes > CALLER_SHARE * self.limit:
            raise TooMuchInFlight(
                f"{caller} has large requests in flight that take {held / MIB:.1f} MiB of memory; they may take "
                f"{CALLER_SHARE * self.limit / MIB:g} MiB, half of guard.in_flight_mb. Read their answers first, or "
                "request less at once.",
                is_callers=True,
            )
        if self.num_bytes + num_bytes > self.limit:
            raise TooMuchInFlight(
                f"Large requests in flight take all of the {self.limit / MIB:g} MiB of memory that they may "
                "(guard.in_flight_mb). Try again later, or request less at once.",
                is_callers=False,
            )
        self._by_caller[caller] = held + num_bytes
        self.num_bytes += num_bytes

    def give_back(self, caller: str, num_bytes: int) -> None:
        self.num_bytes -= num_bytes
        self._by_caller[caller] -= num_bytes
        if not self._by_caller[caller]:
            del self._by_caller[caller]


class RequestMemory:
    """What one request holds, until its context ends."""

    def __init__(self, work: WorkInFlight, scope: Scope) -> None:
        self._work = work
        self._scope = scope
        self._needed = self._taken = 0

    def hold(self, num_bytes: int) -> None:
        """In addition to what the request holds already. Raises TooMuchInFlight."""
        self._needed += num_bytes
        if self._needed > FREE_BYTES:
            self._work.take(self._caller, self._needed - self._taken)
            self._taken = self._needed

    @property
    def _caller(self) -> str:
        key = self._scope["state"].get("client")
        if key is not None:
            return f"The API key {key!r}"
        address = self._scope.get("client")
        return f"The address {address[0]}" if address else "This client"

    def __enter__(self) -> "RequestMemory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._taken:
            self._work.give_back(self._caller, self._taken)
