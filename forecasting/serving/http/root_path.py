"""Routes below a prefix, behind a proxy that passes the prefix on. If the proxy removes it, nothing is left to do."""

from starlette.types import ASGIApp, Receive, Scope, Send

from forecasting.serving.http.middleware import HttpMiddleware


class RootPath(HttpMiddleware):
    """Removes `root_path` from the beginning of each path, so that all other layers see the routes' own paths."""

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        super().__init__(app)
        self._prefix = f"{root_path}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if f"{path}/".startswith(self._prefix):
            scope["path"] = path[len(self._prefix) - 1 :] or "/"
            scope["raw_path"] = scope["path"].encode()
        await self.app(scope, receive, send)
