"""Servers on loopback that get messages: HTTP, with answers as a test wants them, and SMTP."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message as Mail
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler

from forecasting.serving.torchserve.ports import find_free_port


@dataclass(frozen=True)
class Post:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """`answer` gets the posts so far, with the one to be answered, and returns the status; None: no answer at all."""

    port: int
    posts: list[Post] = field(default_factory=list)
    answer: Callable[[list[Post]], int | None] = lambda _: 200

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    receiver, lock = HttpReceiver(0), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                receiver.posts.append(Post(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                posts = list(receiver.posts)
            status = receiver.answer(posts)
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Mailbox(MailHandler):
    def __init__(self, mails: list[Mail]) -> None:
        super().__init__()
        self._mails = mails

    def handle_message(self, message: Mail) -> None:
        self._mails.append(message)


@contextmanager
def mail_receiver() -> Iterator[tuple[str, list[Mail]]]:
    """Its host and port, and the mails that it got."""
    mails: list[Mail] = []
    controller = Controller(_Mailbox(mails), hostname="127.0.0.1", port=find_free_port())
    controller.start()
    try:
        yield f"127.0.0.1:{controller.port}", mails
    finally:
        controller.stop()
