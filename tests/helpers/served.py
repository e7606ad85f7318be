"""A service at a port of its own, for tests of its API: uvicorn and a worker, each in a thread."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image
from serve_rig import Rig

from kineograph.serve import access, ledger
from kineograph.serve.app import create_app
from kineograph.serve.logs import set_up
from kineograph.serve.service import Service


class Served:
    """A running service; `client` asks it without a key."""

    def __init__(self, rig: Rig) -> None:
        set_up("error", "json")  # a terminal's tracebacks take seconds
        self.rig = rig
        self.app = create_app(rig.settings, rig.database)
        self.service: Service = self.app.state.api.service
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_config=None, timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def start(self) -> None:
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive(), "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()
        assert not self.thread.is_alive()

    def key(self, name: str, tier: str = "member", credits: float = 1000.0, **more: Any) -> Any:
        """Make an account and a key of it, and return the key."""
        settings, now = self.rig.settings, time.time()
        with self.rig.database.write() as c:
            account = access.create_account(c, name, tier, settings, now)
            if credits:
                ledger.grant(c, account["id"], credits, now=now)
            return access.create_key(c, account["id"], name, settings, now, **more)

    def as_(self, key: Any) -> httpx.Client:
        """Return a client that sends a key."""
        headers = {"Authorization": f"Bearer {getattr(key, 'token', key)}"}
        return httpx.Client(base_url=self.url, timeout=20, headers=headers, trust_env=False)

    def done(self, id: str, client: httpx.Client | None = None, seconds: float = 30.0) -> Any:
        """Wait until a video is over and return it."""
        end = time.monotonic() + seconds
        while True:
            told = (client or self.client).get(f"/v1/videos/{id}").json()
            if told["status"] in ("completed", "failed"):
                return told
            assert time.monotonic() < end, told
            time.sleep(0.04)

    def files(self) -> list[str]:
        """Return the keys of all files in the storage that requests brought in."""
        return [k for prefix in ("inputs", "uploads") for k, _ in self.rig.storage.names(prefix)]


@contextmanager
def served(
    url: str, folder: Path, *, workers: int = 1, before: Callable[[Rig], None] | None = None,
    step: float = 0.005, **settings: Any,
) -> Iterator[Served]:  # fmt: skip
    """Run a service on a fresh database, `before` it starts with its rig in hand."""
    rig = Rig(url, folder / "data", step=step)
    rig.set(**settings)
    if before is not None:
        before(rig)
    found = Served(rig)
    with ExitStack() as stack:
        stack.callback(rig.close)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        found.start()
        stack.callback(found.stop)
        for _ in range(workers):
            stack.enter_context(rig.working(patch))
        yield found


def picture(width: int = 320, height: int = 320, kind: str = "PNG") -> bytes:
    """Return a picture as the bytes of its file."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, kind)
    return file.getvalue()
