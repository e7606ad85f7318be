"""Requests to addresses that strangers name, so that none of them reaches our own network.

A name is resolved once, every address that it has is judged, and the connection is made to one
of those: a resolver that answers otherwise the next time is not asked. Certificates are still
verified against the name. Redirects are followed by hand, each judged as the first was. The
environment's proxies are not used. Nothing here is done unless the service's operator turned it on.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import IO, Any

import httpcore

from kineograph.errors import RequestError, shown
from kineograph.media.files import atomic_write

Address = IPv4Address | IPv6Address
Resolver = Callable[..., list[tuple[Any, ...]]]  # socket.getaddrinfo or the like

MAX_URL_CHARS = 2048
HOST = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
NUMBERS = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")  # what some resolvers take for IPv4
NAT64, NAT64_LOCAL, COMPATIBLE = map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
REDIRECTS = (301, 302, 303, 307, 308)
MEDIA_TYPES = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
    "application/octet-stream",  # what object stores say of anything; its bytes are judged later
)


class FetchError(RequestError):
    """A URL that is not reached, or whose answer is not taken; the message is for its sender."""


@dataclass(frozen=True)
class FetchLimits:
    """What may be reached, and what may be spent on it; times are in seconds."""

    max_bytes: int = 200_000_000
    total_seconds: float = 30.0
    wait_seconds: float = 5.0  # for a connection, and for each part of an answer
    max_redirects: int = 3
    ports: tuple[int, ...] = (443,)
    content_types: tuple[str, ...] = MEDIA_TYPES
    allowed_domains: tuple[str, ...] = ()  # with all their subdomains; none: any
    allowed_networks: tuple[str, ...] = ()  # such as 10.0.0.0/8, that may be reached though private


@dataclass(frozen=True)
class _Place:
    """A URL that passed, in the parts that are sent: nothing parses it a second time."""

    host: str
    port: int
    target: bytes
    url: Any  # httpx.URL: imported where it is used, since a command line comes with it


class _Deadline:
    """The end of all that one call may take."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._end = time.monotonic() + limits.total_seconds

    def wait(self) -> float:
        """Return for how many seconds the next step may wait."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise FetchError(
                f"the answer takes more than {self._limits.total_seconds:g} s, the most allowed"
            )
        return min(left, self._limits.wait_seconds)


def check_url(url: str, limits: FetchLimits | None = None) -> None:
    """Refuse a URL that could never be reached, before anything is resolved or connected.

    Raises:
        FetchError: it is no https URL, has a user, a port or a domain that is not allowed, or
            an address that is not public.
    """
    _place(url, FetchLimits() if limits is None else limits)


def fetch(
    url: str,
    target: Path,
    *,
    limits: FetchLimits | None = None,
    resolver: Resolver = socket.getaddrinfo,
    verify: ssl.SSLContext | None = None,
) -> Path:
    """Write what an https URL answers to `target`, which appears whole or not at all.

    `resolver` is asked once a hop, with the arguments of `socket.getaddrinfo`; `verify` are the
    certificates to trust, by default those that browsers trust.

    Raises:
        FetchError: the URL or one that it redirects to is not allowed, cannot be reached, or
            answers something else, too much or too slowly.
    """
    limits = FetchLimits() if limits is None else limits
    place, deadline = _place(url, limits), _Deadline(limits)
    for _ in range(limits.max_redirects + 1):
        with _answer("GET", place, b"", {}, limits, deadline, resolver, verify) as response:
            if response.status in REDIRECTS:
                place = _place(_location(place, response), limits)
                continue
            if response.status != 200:
                raise FetchError(f"{place.host} answers with status {response.status}, not 200")
            _check_headers(place, response, limits)
            with atomic_write(target) as file:
                _save(response, file, limits)
            return target
    raise FetchError(f"{shown(url)} redirects more than {limits.max_redirects} times")


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    limits: FetchLimits | None = None,
    resolver: Resolver = socket.getaddrinfo,
    verify: ssl.SSLContext | None = None,
) -> int:
    """Send `body` to an https URL and return the HTTP status, whichever it is.

    No redirect is followed (its status is returned), and nothing of the answer's body is read.

    Raises:
        FetchError: the URL is not allowed or cannot be reached, or nothing answers in time.
    """
    limits = FetchLimits() if limits is None else limits
    place, deadline = _place(url, limits), _Deadline(limits)
    own = {k.lower(): v for k, v in (headers or {}).items()} | {"content-length": str(len(body))}
    with _answer("POST", place, body, own, limits, deadline, resolver, verify) as response:
        return response.status


def _place(url: str, limits: FetchLimits) -> _Place:
    """Take a URL apart; refuse all that needs no resolver to refuse."""
    import httpx

    if len(url) > MAX_URL_CHARS:
        raise FetchError(f"the URL has {len(url)} characters; allowed: up to {MAX_URL_CHARS}")
    if not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise FetchError(f"{shown(url)} is no URL; allowed: https://host/path, escaped")
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii").lower().rstrip(".")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchError(f"{shown(url)} is no URL; allowed: https://host/path") from error
    if parts.scheme != "https":
        raise FetchError(f"{shown(url)} has the scheme {shown(parts.scheme)}; allowed: https")
    if parts.userinfo or "@" in re.split("[/?#]", url.partition("//")[2])[0]:
        raise FetchError(f"the URL of {shown(host)} has a user or password; allowed: none")
    port = 443 if parts.port is None else parts.port
    if port not in limits.ports:
        allowed = ", ".join(map(str, limits.ports))
        raise FetchError(f"{shown(url)} has the port {port}; allowed: {allowed}")
    _check_host(host, limits)
    return _Place(host, port, parts.raw_path, parts.copy_with(fragment=None))


def _check_host(host: str, limits: FetchLimits) -> None:
    bare = f"[{host}]" if ":" in host and not host.startswith("[") else host
    if not HOST.fullmatch(bare):
        raise FetchError(f"{shown(host)} is no host name; allowed: letters, digits, dots, hyphens")
    domains = [domain.lower().strip(".") for domain in limits.allowed_domains]
    if domains and not any(host == d or host.endswith(f".{d}") for d in domains):
        raise FetchError(f"the host {shown(host)} is not allowed; allowed: {', '.join(domains)}")
    address = _literal(host)
    if address is not None:
        _check_address(host, address, limits)
    elif ":" in host or NUMBERS.fullmatch(host):
        raise FetchError(
            f"the host {shown(host)} is a number; allowed: a name, or an address such as 192.0.2.1"
        )
    elif (host == "localhost" or host.endswith(".localhost")) and not limits.allowed_networks:
        raise FetchError(f"the host {shown(host)} is this machine; allowed: public hosts")


def _literal(host: str) -> Address | None:
    with suppress(ValueError):
        return ip_address(host.strip("[]"))
    return None


def _check_address(host: str, address: Address, limits: FetchLimits) -> None:
    """Refuse an address that is not public, whatever it is wrapped in."""
    networks = [ip_network(network) for network in limits.allowed_networks]
    for inner in _unwrapped(address):
        if any(inner in network for network in networks):
            continue
        if not _is_public(inner):
            raise FetchError(
                f"the host {shown(host)} has the address {address}, which is not public; "
                "allowed: public addresses"
            )


def _unwrapped(address: Address) -> tuple[Address, ...]:
    """Return the addresses that a packet to this one ends up at: itself, or those inside."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    if address in NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (
        address.is_site_local or address.scope_id or address in NAT64_LOCAL or address in COMPATIBLE
    ):
        return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special


def _resolve(place: _Place, limits: FetchLimits, end: _Deadline, resolver: Resolver) -> list[str]:
    """Return the addresses of a host, all of them allowed."""
    literal = _literal(place.host)
    if literal is not None:  # judged with the URL
        return [str(literal)]
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(resolver(place.host, place.port, 0, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    # The system's resolver knows no deadline; a thread that is late is left to itself.
    thread = threading.Thread(target=ask, name="resolver", daemon=True)
    thread.start()
    thread.join(end.wait())
    if not found or isinstance(found[0], Exception) or not found[0]:
        raise FetchError(f"the host {shown(place.host)} is not found by name")
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found[0]))
    for text in addresses:
        _check_address(place.host, ip_address(text), limits)
    return addresses


class _Stream(httpcore.NetworkStream):
    """A connection whose every step ends with the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.wait())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.wait())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.wait())
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (the base class's type)
        return self._inner.get_extra_info(info)


class _Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were judged, whatever host it is asked for."""

    def __init__(self, addresses: list[str], deadline: _Deadline) -> None:
        self._addresses, self._deadline = addresses, deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in self._addresses:
            try:
                stream = self._backend.connect_tcp(address, port, self._deadline.wait())
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure


@contextmanager
def _answer(
    method: str,
    place: _Place,
    body: bytes,
    headers: Mapping[str, str],
    limits: FetchLimits,
    deadline: _Deadline,
    resolver: Resolver,
    verify: ssl.SSLContext | None,
) -> Iterator[httpcore.Response]:
    """Ask one place, over a connection of its own; its failures become one line."""
    addresses = _resolve(place, limits, deadline, resolver)
    host = f"[{place.host}]" if ":" in place.host else place.host
    sent = {
        "user-agent": "kineograph",
        "accept": "*/*",
        **headers,
        "host": host if place.port == 443 else f"{host}:{place.port}",
        "accept-encoding": "identity",
        "connection": "close",
    }
    url = httpcore.URL(scheme=b"https", host=place.host, port=place.port, target=place.target)
    import httpx

    context = httpx.create_ssl_context(trust_env=False) if verify is None else verify
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=context, network_backend=_Pinned(addresses, deadline)
            ) as pool,
            pool.stream(method, url, headers=list(sent.items()), content=body) as response,
        ):
            yield response
    except httpcore.TimeoutException as error:
        deadline.wait()  # whose end has a message of its own
        raise FetchError(
            f"{shown(place.host)} says nothing for {limits.wait_seconds:g} s, the longest allowed"
        ) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, ValueError, OSError) as error:
        raise FetchError(f"{shown(place.host)} cannot be reached: {shown(str(error))}") from error


def _location(place: _Place, response: httpcore.Response) -> str:
    import httpx

    location = _header(response, b"location")
    try:
        return str(place.url.join(location or ""))  # to itself, where it does not say
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError(f"{shown(place.host)} redirects to {shown(location)}, no URL") from error


def _header(response: httpcore.Response, name: bytes) -> str | None:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[0].decode("latin-1") if values else None


def _check_headers(place: _Place, response: httpcore.Response, limits: FetchLimits) -> None:
    kind = (_header(response, b"content-type") or "").split(";")[0].strip().lower()
    if kind not in limits.content_types:
        allowed = ", ".join(limits.content_types)
        raise FetchError(f"{place.host} answers with {shown(kind)}; allowed: {allowed}")
    encoding = (_header(response, b"content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise FetchError(f"{place.host} answers in {shown(encoding)} encoding; allowed: none")
    length = _header(response, b"content-length") or "0"
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise _too_large(limits)


def _save(response: httpcore.Response, file: IO[bytes], limits: FetchLimits) -> None:
    count = 0
    for part in response.iter_stream():
        count += len(part)
        if count > limits.max_bytes:
            raise _too_large(limits)
        file.write(part)


def _too_large(limits: FetchLimits) -> FetchError:
    return FetchError(f"the answer is too large; allowed: up to {limits.max_bytes / 1e6:g} MB")
