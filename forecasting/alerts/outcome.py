"""What came of an attempt to send a message. Pure."""

from dataclasses import dataclass
from http import HTTPStatus

ANSWER_SECONDS = 30.0  # that a service has to answer: with Apprise's 4, slow ones would be told again and again
TIMED_OUT = f"no answer within {ANSWER_SECONDS:.0f} s"


@dataclass(frozen=True)
class Outcome:
    """Of one attempt. `answer` is why it failed, in words that have no secrets; empty if it did not."""

    answer: str = ""
    is_unsure: bool = False  # it may have arrived all the same

    @property
    def is_sent(self) -> bool:
        return not self.answer


def describe_status(status: int) -> str:
    try:
        return f"the service answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"the service answered {status}"
