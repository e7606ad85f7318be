"""Requests without a key that a browser sends on behalf of somebody else's page.

Where no key is needed, any page that is open in a browser on this machine could send forms to the
service (its origin is told), or call itself by a name that suddenly means this machine (DNS
rebinding; the name is told as the host). Neither is served.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from starlette.requests import Request

from kineograph.errors import shown
from kineograph.serve.refusals import Forbidden
from kineograph.serve.settings import Settings


def check_browser(request: Request, settings: Settings) -> None:
    """Refuse a request that another page's, or another host's, than the service's own sends.

    Raises:
        Forbidden: it is one.
    """
    host = request.headers.get("host", "").lower()
    public = _host_of(settings.public_url)
    origin = request.headers.get("origin")
    if origin is not None and _host_of(origin) not in (host, public or host):
        raise Forbidden(
            f"the page at {shown(origin)} may not use this service without an API key"
        )
    # `open` as yes is an operator's word for whatever names there are.
    if settings.open == "auto" and host != public and not _is_here(host):
        raise Forbidden(
            f"the host {shown(host)} is not served without an API key; set public_url, or open"
        )


def _host_of(url: str) -> str:
    """Return the host and the port of a URL; nothing of what is none."""
    return url.lower().partition("://")[2].partition("/")[0]


def _is_here(host: str) -> bool:
    """Whether a host is told by its address, or by a name that no public resolver has."""
    name = re.sub(r":[0-9]*$", "", host).strip("[]")
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith((".localhost", ".local", ".internal"))
    return True
