"""Runs the gateway in the process of the test, over ASGI: no server, no model file, and a clock that the test moves.

The middlewares, their order and their options are those that `service.build` gives to BentoML. The endpoints are those
of `api/classification_routes.py` and `api/json_routes.py`. Only the runner, the clock and BentoML are replaced, so the
routes of BentoML itself are missing: `/livez`, `/readyz`, `/healthz`, `/schema.json` and the files of `/docs`.
`/metrics` is that of this process.
"""

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from api import documents, json_routes
from api.classification_routes import ClassificationRoutes, hugging_face_route, refusal
from api.draining import Draining
from api.routes import ROUTES
from api.streams import StreamOptions, Streams
from auth.api_key import ApiKey
from auth.failed_logins import FailureLimit
from auth.identity import DEFAULT_SCOPES
from inference.classifier import Classifier
from storage import keys, users
from storage.keys import NewKey
from storage.policy import Limit, parse_limits
from storage.store import Store
from testing import colour_model
from testing.asgi_exchange import Exchange
from testing.asgi_web_socket import WebSocket
from testing.clock import Clock
from testing.database_rows import DatabaseRows
from testing.shipped_wiring import settings_of, wiring
from web.matching import RouteMatching

ADDRESS = "192.0.2.1"
WIDE_LIMIT = "100000/minute"


@dataclass(frozen=True)
class IssuedKey:
    """A key that a test sends.

    Attributes:
        text: the key in clear, as a caller writes it.
        key_id: its public id.
        user_id: the user's id.
    """

    text: str
    key_id: str
    user_id: str


class InProcessGateway(DatabaseRows):
    """The gateway of one test.

    Args:
        database: the file of an SQLite database with the tables of this version; not used if the settings name another
            database.
        clock: the time of keys, limits and the usage log.
        settings: fields of `configs.settings.Settings`; a field that is not given has its default.

    Attributes:
        app: the ASGI app.
        classifier: decodes and classifies; call `warm_up` before a test classifies.
        clock: the clock.
        database: the file of the database.
        draining: shortens the time limits of requests once `begin` is called.
        runner: the stand-in for the runner.
        store: keys, limits and the usage log.
    """

    def __init__(self, database: Path, clock: Clock, **settings: Any) -> None:
        made = settings_of(**settings)
        self.database = database
        self.clock = clock
        url, tells_owner = settings.get("database_url", f"sqlite:///{database}"), made.webhook_url is not None
        self.store = Store(url, clock_us=lambda: clock.now_us, tells_owner=tells_owner)
        self.runner = colour_model.ColourRunner()
        self.classifier = Classifier(self.runner, colour_model.PREPARED, made)
        self.draining = Draining(made.drain_seconds)
        self._wiring = wiring(made)
        self._default_limits = parse_limits(made.default_limit)
        self.app = self._with_middlewares(self._routes(made.max_batch_images))

    async def warm_up(self) -> None:
        """Have the runner answer its first image, as a worker does when it starts."""
        assert await self.classifier.is_ready()
        self.runner.forget()

    async def close(self) -> None:
        """Release what the test used."""
        self.classifier.close()
        await self.store.close()

    def new_key(
        self,
        *limits: str,
        email: str = "caller@example.org",
        scopes: frozenset[str] = DEFAULT_SCOPES,
        expires_in_s: int | None = None,
    ) -> IssuedKey:
        """Store a new key, and a new user where none has the address.

        Args:
            limits: the limits of a new user, such as "5/minute"; without any, a limit that no test reaches.
            email: the address of the user.
            scopes: what the key may do.
            expires_in_s: seconds until the key expires; None: never.
        """
        key, now_us = ApiKey.generate(), self.clock.now_us
        expires_us = None if expires_in_s is None else now_us + expires_in_s * 1_000_000
        wanted = tuple(map(Limit.parse, limits or (WIDE_LIMIT,)))
        new = NewKey(email, None, wanted, key.key_id, key.secret_sha256(), scopes, now_us, expires_us)
        record = self.store.database.change(partial(keys.issue, new=new))
        return IssuedKey(key.reveal(), record.key_id, record.user_id)

    def revoke(self, key: IssuedKey) -> None:
        """Revoke a key. A gateway that has read it in the last half second still accepts it for that time."""
        self.store.database.change(partial(keys.revoke, key_id=key.key_id, now_us=self.clock.now_us))

    def disable(self, key: IssuedKey) -> None:
        """Disable the user of a key. A gateway that has read the key in the last half second still accepts it."""
        self.store.database.change(partial(users.disable, name=key.user_id, now_us=self.clock.now_us))

    def last_used_us(self, key: IssuedKey) -> int | None:
        """Return when the key was last used, as the database knows it, Unix microseconds."""
        return self.store.database.ask(partial(keys.require, key_id=key.key_id)).last_used_us

    async def request(
        self, method: str, path: str, key: IssuedKey | None = None, *, address: str = ADDRESS, **options: Any
    ) -> httpx.Response:
        """Send a request whole, and return the answer.

        Args:
            method: the HTTP method.
            path: the path, with a query if there is one.
            key: sent in `Authorization`.
            address: the client's.
            options: of `httpx.AsyncClient.request`: `json`, `content`, `files`, `headers`, ...
        """
        headers = {**authorization(key), **options.pop("headers", {})}
        transport = httpx.ASGITransport(self.app, client=(address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.request(method, path, headers=headers, **options)

    def exchange(self, path: str, key: IssuedKey | None = None, *, method: str = "POST", **headers: str) -> Exchange:
        """Begin a request whose body the test sends piece by piece; `content_type="image/png"` names a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Exchange(self.app, method, path, {**authorization(key), **named}, ADDRESS)

    def web_socket(self, path: str, key: IssuedKey | None = None, *, address: str = ADDRESS, **parts: Any) -> WebSocket:
        """Begin a WebSocket; see `testing.asgi_web_socket.WebSocket` for its other parts: `headers`, `protocols`."""
        headers = {**authorization(key), **parts.pop("headers", {})}
        return WebSocket(self.app, path, headers, address=address, **parts)

    def _with_middlewares(self, app: ASGIApp) -> ASGIApp:
        """Wrap the routes in the middlewares that ship, with this test's store, clock and model in their options."""
        for middleware, shipped in reversed(self._wiring.middlewares):
            options = dict(shipped)
            if "failures" in options:
                options["failures"] = FailureLimit(options["failures"].limit, lambda: self.clock.advanced_s)
            own = {
                "store": self.store,
                "refusal": partial(refusal, classifier=self.classifier),
                "draining": self.draining,
            }
            options.update({name: value for name, value in own.items() if name in options})
            app = middleware(app, **options)
        return Streams(RouteMatching(app, ROUTES), self._stream_options())

    def _stream_options(self) -> StreamOptions:
        return replace(self._wiring.stream_options, draining=self.draining)

    def _routes(self, most_images: int) -> ASGIApp:
        worker = ClassificationRoutes()
        worker.classifier, worker.most_images = self.classifier, most_images
        routes: list[BaseRoute] = [_route(worker, api) for api in self._wiring.apis.values()]
        routes.append(hugging_face_route(lambda: worker))
        # Building the document takes 0.1 s, and writing it as JSON 5 ms; it is the same for every store.
        with (
            mock.patch.object(json_routes, "build_document", return_value=self._wiring.document),
            mock.patch.object(documents, "routes", return_value=self._wiring.document_routes),
        ):
            others = json_routes.build(self.store, lambda: self.classifier, self._default_limits)
        return Starlette(routes=[*routes, Route("/metrics", _metrics), Mount("/", others)])


def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type="text/plain")


def copied(database: Path, folder: Path) -> Path:
    """Copy an SQLite database into a folder. That takes a hundredth of the time that migrations take."""
    return Path(shutil.copy(database, folder / "classifier.db"))


def authorization(key: IssuedKey | None) -> dict[str, str]:
    """Return the header that holds the key; no header without a key."""
    return {} if key is None else {"Authorization": f"Bearer {key.text}"}


def _route(worker: Any, api: Any) -> Route:
    async def call(request: Request) -> Response:
        answer: Response = await api.func(worker, request)
        return answer

    return Route(api.route, call, methods=["POST"])
