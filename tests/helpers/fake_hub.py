"""A hub on this machine: the endpoints of the Hugging Face hub that its library asks."""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"
LARGE = (".safetensors", ".pth")  # what is kept in LFS


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What is published, what goes wrong, and what was asked."""

    repos: dict[str, Path] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    stall: dict[str, int] = field(default_factory=dict)  # bytes of a file before it hangs
    flip: set[str] = field(default_factory=set)  # files of which a byte comes out wrong
    claim: dict[str, int] = field(default_factory=dict)  # sizes that are told instead
    down: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    leaked: bool = False  # whether a token came to the host of large files
    stalled: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def commit(self, repo):
        files = sorted(p for p in self.repos[repo].rglob("*") if p.is_file())
        told = [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
        return hashlib.sha1(repr(told).encode()).hexdigest()

    def fetched(self):
        """The files whose contents were asked for."""
        return [(path.partition("/resolve/")[2].partition("/")[2], span)
                for method, path, span in self.asked
                if method == "GET" and "/resolve/" in path]  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range")))
        words = path.strip("/").split("/")
        if hub.down:
            return self.say(503, {})
        if words[0] == "cdn":
            hub.leaked |= "Authorization" in self.headers
            return self.contents("/".join(words[1:3]), "/".join(words[3:]))
        repo = "/".join(words[2:4] if words[0] == "api" else words[:2])
        mine = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo not in hub.repos or (repo in hub.private and not mine):
            return self.say(401, {}, {"X-Error-Code": "RepoNotFound"})
        if repo in hub.gated and not mine:
            return self.say(403, {}, {"X-Error-Code": "GatedRepo"})
        revision = words[5] if words[0] == "api" else words[3]
        if revision not in ("main", "v1", hub.commit(repo)):
            return self.say(404, {}, {"X-Error-Code": "RevisionNotFound"})
        if words[0] == "api":
            return self.say(200, self.told(repo, tree=words[4] == "tree"))
        return self.resolve(repo, "/".join(words[4:]))

    def told(self, repo, tree):
        hub, folder, files = self.hub, self.hub.repos[repo], []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            data, name = path.read_bytes(), path.relative_to(folder).as_posix()
            size = hub.claim.get(name, len(data))
            lfs = None
            if name.endswith(LARGE):
                digest = hashlib.sha256(data).hexdigest()
                lfs = {"sha256": digest, "oid": digest, "size": size, "pointerSize": 130}
            blob = git_hash(data)
            entry = {"type": "file", "path": name, "rfilename": name, "size": size, "oid": blob}
            files.append(entry | {"blobId": blob} | ({"lfs": lfs} if lfs else {}))
        if tree:
            return files
        return {"id": repo, "sha": hub.commit(repo), "siblings": files}

    def resolve(self, repo, name):
        path = self.hub.repos[repo] / name
        if not path.is_file():
            return self.say(404, {}, {"X-Error-Code": "EntryNotFound"})
        data = path.read_bytes()
        if not name.endswith(LARGE):
            return self.contents(repo, name)
        etag = hashlib.sha256(data).hexdigest()
        port = self.server.server_address[1]  # another host, as far as a client can tell
        return self.say(302, {}, {
            "Location": f"http://localhost:{port}/cdn/{repo}/{name}",
            "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data)),
            "X-Repo-Commit": self.hub.commit(repo),
        })  # fmt: skip

    def contents(self, repo, name):
        hub = self.hub
        data = (hub.repos[repo] / name).read_bytes()
        etag, size, first = git_hash(data), len(data), 0
        if name in hub.flip:
            data = bytes([data[0] ^ 1]) + data[1:]
        span = self.headers.get("Range")
        if span is not None:
            first = int(span.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", hub.commit(repo))
        self.send_header("Content-Length", str(size - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in hub.stall:
            self.wfile.write(data[first : hub.stall[name]])
            self.wfile.flush()
            hub.stalled.set()
            self.rfile.read(1)  # until the client goes away
            self.close_connection = True
            return
        self.wfile.write(data[first:])

    def say(self, status, body, headers=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving():
    """Serve a hub for as long as the block lasts."""
    hub = Hub()
    handler = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
