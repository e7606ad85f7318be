"""The API for an account's owner: credits, keys, webhooks; and the ways to get an account."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kineograph.errors import shown
from kineograph.serve import access, invitations, webhooks
from kineograph.serve import account_views as views
from kineograph.serve import schemas_account as schemas
from kineograph.serve.access import Identity
from kineograph.serve.bodies import MAX_ITEMS
from kineograph.serve.fetch import FetchLimits, check_url
from kineograph.serve.http import Api, run
from kineograph.serve.reading import MAX_URL_CHARS, read_text, refuse, unknown_field
from kineograph.serve.refusals import Forbidden, Refusal

T = TypeVar("T")
ACCOUNT = "account"  # the scope of all that is about one's own account
PER_MINUTE = {"applications": 6, "invitations": 30}  # from one address
RECEIVED = {
    "object": "application",
    "status": "received",
    "message": "your application is on the waiting list; you will hear at the contact you gave",
}


class SignupOff(Forbidden):
    """Nobody can apply for access here."""

    code = "signup_off"


def router(api: Api) -> APIRouter:
    """Return the routes under /v1/account, /v1/keys, /v1/webhooks and those of coming in."""
    routes = APIRouter()
    routes.include_router(_account(api), tags=["account"])
    routes.include_router(_keys(api), tags=["account"])
    routes.include_router(_webhooks(api), tags=["webhooks"])
    routes.include_router(_deliveries(api), tags=["webhooks"])
    routes.include_router(_coming_in(api), tags=["account"])
    return routes


async def _who(api: Api, request: Request) -> Identity:
    """Return who asks, where the key may manage the account."""
    who = await api.who(request)
    who.require(ACCOUNT)
    return who


async def _fields(api: Api, request: Request, body: str) -> Mapping[str, Any]:
    """Return the fields of a body; raises a `Refusal` of one that the route does not know."""
    read = await api.body(request)
    read.close()
    for name in read.fields:
        if name not in schemas.FIELDS[body]:
            raise unknown_field(name, schemas.FIELDS[body])
    return read.fields


def _text(fields: Mapping[str, Any], name: str, limit: int, default: str | None = None) -> str:
    value = fields.get(name, default)
    if value is None:
        raise Refusal(f"{name} is missing; it is a text of at most {limit} characters", param=name)
    return read_text(name, value, limit)


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    if name not in fields:
        return None
    value = fields[name]
    if type(value) not in (int, float) or not abs(float(value)) <= schemas.LATEST:
        raise refuse(name, value, f"a number of at most {schemas.LATEST}")
    return float(value)


async def _read(api: Api, look: Callable[[Connection], T]) -> T:
    """Return what a look at the database finds."""

    def within() -> T:
        with api.service.database.read() as connection:
            return look(connection)

    return await run(within)


async def _write(api: Api, change: Callable[[Connection], T]) -> T:
    """Return what a change of the database returns, when it is made."""

    def within() -> T:
        with api.service.database.write() as connection:
            return change(connection)

    return await run(within)


def _answer(
    request: Request, content: Mapping[str, Any], *, status: int = 200, secret: bool = False
) -> Response:
    rate = getattr(request.state, "rate", None)
    headers = {} if rate is None else rate.headers()
    if secret:
        headers["Cache-Control"] = "no-store"
    return JSONResponse(dict(content), status, headers=headers)


def _account(api: Api) -> APIRouter:
    """Return the routes that tell of an account."""
    routes, settings = APIRouter(), api.service.settings

    @routes.get("/v1/account", **schemas.route("Read your limits and credits", schemas.Account))
    async def account(request: Request) -> Response:
        who = await _who(api, request)
        view = await _read(api, lambda c: views.account_view(c, who, settings, time.time()))
        return _answer(request, view)

    @routes.get(
        "/v1/account/ledger", **schemas.route("List what changed your credits", schemas.LedgerPage)
    )
    async def ledger(
        request: Request, after: schemas.AfterEntry = None, limit: schemas.Limit = 20
    ) -> Response:
        who = await _who(api, request)
        page = await _read(
            api, lambda c: views.ledger_page(c, who.account_id, after=after, limit=limit)
        )
        return _answer(request, page)

    return routes


def _keys(api: Api) -> APIRouter:
    """Return the routes of an account's keys."""
    routes, settings = APIRouter(), api.service.settings

    @routes.get("/v1/keys", **schemas.route("List your keys", schemas.KeyPage))
    async def listing(request: Request) -> Response:
        who = await _who(api, request)
        keys = await _read(api, lambda c: access.list_keys(c, who.account_id))
        return _answer(request, views.listed([views.key_view(key) for key in keys]))

    @routes.post("/v1/keys", **schemas.taking(
        "key", "Make a key", schemas.NewKey, 404, 409, required=("name",), done=201))  # fmt: skip
    async def create(request: Request) -> Response:
        who = await _who(api, request)
        fields = await _fields(api, request, "key")
        now, signing = time.time(), fields.get("signing", False)
        name = _text(fields, "name", schemas.MAX_NAME_CHARS)
        scopes, expires_at = _scopes(fields, who), _number(fields, "expires_at")
        if not isinstance(signing, bool):
            raise refuse("signing", signing, "true or false")
        new = await _write(api, lambda c: access.create_key(
            c, who.account_id, name, settings, now,
            scopes=scopes, expires_at=expires_at, signing=signing, within=who.scopes,
        ))  # fmt: skip
        view = views.new_key_view(new, signing=signing, now=now)
        return _answer(request, view, status=201, secret=True)

    @routes.delete("/v1/keys/{key_id}", **schemas.route("Revoke a key", schemas.Removed, 404))
    async def revoke(request: Request, key_id: schemas.AnId) -> Response:
        who = await _who(api, request)
        await _write(api, lambda c: access.revoke_key(c, who.account_id, key_id, time.time()))
        return _answer(request, {"id": key_id, "object": "key.deleted", "deleted": True})

    @routes.post("/v1/keys/{key_id}/rotate", **schemas.taking(
        "rotation", "Make a key anew, and let it end", schemas.NewKey, 404, 409))  # fmt: skip
    async def rotate(request: Request, key_id: schemas.AnId) -> Response:
        who = await _who(api, request)
        fields = await _fields(api, request, "rotation")
        now, overlap = time.time(), _number(fields, "overlap") or 0.0

        def change(c: Connection) -> dict[str, Any]:
            new = access.rotate_key(
                c, who.account_id, key_id, settings, now, overlap=overlap, within=who.scopes
            )
            made = next(key for key in access.list_keys(c, who.account_id) if key["id"] == new.id)
            return views.new_key_view(new, signing=made["signing"], now=now)

        return _answer(request, await _write(api, change), secret=True)

    return routes


def _scopes(fields: Mapping[str, Any], who: Identity) -> list[str]:
    """Return the scopes that a new key is to have: by default the usual ones that the key has."""
    value = fields.get("scopes", [scope for scope in access.USUAL if scope in who.scopes])
    if not isinstance(value, list) or not all(isinstance(scope, str) for scope in value):
        raise refuse("scopes", value, f"a list of some of {', '.join(access.SCOPES)}")
    if not 1 <= len(value) <= MAX_ITEMS:
        raise refuse("scopes", value, "a list of one scope at least")
    return value


def _webhooks(api: Api) -> APIRouter:
    """Return the routes of an account's webhooks."""
    routes, settings = APIRouter(), api.service.settings
    limits = FetchLimits(allowed_networks=settings.networks())

    @routes.get("/v1/webhooks", **schemas.route("List your webhooks", schemas.WebhookPage))
    async def listing(request: Request) -> Response:
        who = await _who(api, request)
        rows = await _read(api, lambda c: webhooks.list_endpoints(c, who.account_id))
        return _answer(request, views.listed([views.endpoint_view(row) for row in rows]))

    @routes.post("/v1/webhooks", **schemas.taking(
        "webhook", "Have events sent to a URL", schemas.NewWebhook, 409, required=("url",),
        done=201))  # fmt: skip
    async def create(request: Request) -> Response:
        who = await _who(api, request)
        url = _text(await _fields(api, request, "webhook"), "url", MAX_URL_CHARS)
        new = await _write(api, lambda c: webhooks.create_endpoint(
            c, who.account_id, url, settings, time.time(), check=lambda u: check_url(u, limits)
        ))  # fmt: skip
        return _answer(request, views.new_endpoint_view(new), status=201, secret=True)

    @routes.get("/v1/webhooks/secret", **schemas.route(
        "Read what signs the callbacks of your videos", schemas.Secret))  # fmt: skip
    async def secret(request: Request) -> Response:
        who = await _who(api, request)
        value = await run(webhooks.account_secret, settings, who.account_id)
        return _answer(request, {"object": "webhook.secret", "secret": value}, secret=True)

    @routes.delete("/v1/webhooks/{webhook_id}", **schemas.route(
        "Delete a webhook", schemas.Removed, 404))  # fmt: skip
    async def delete(request: Request, webhook_id: schemas.AnId) -> Response:
        who = await _who(api, request)
        await _write(api, lambda c: webhooks.delete_endpoint(c, who.account_id, webhook_id))
        return _answer(request, {"id": webhook_id, "object": "webhook.deleted", "deleted": True})

    @routes.post("/v1/webhooks/{webhook_id}/rotate", **schemas.route(
        "Give a webhook another secret", schemas.NewWebhook, 404))  # fmt: skip
    async def rotate(request: Request, webhook_id: schemas.AnId) -> Response:
        who = await _who(api, request)
        new = await _write(api, lambda c: webhooks.rotate_endpoint(
            c, who.account_id, webhook_id, settings, time.time()
        ))  # fmt: skip
        return _answer(request, views.new_endpoint_view(new), secret=True)

    @routes.post("/v1/webhooks/{webhook_id}/enable", **schemas.route(
        "Send again to a webhook that has answered 410", schemas.Webhook, 404))  # fmt: skip
    async def enable(request: Request, webhook_id: schemas.AnId) -> Response:
        who = await _who(api, request)

        def change(c: Connection) -> dict[str, Any]:
            webhooks.enable_endpoint(c, who.account_id, webhook_id)
            rows = webhooks.list_endpoints(c, who.account_id)
            return views.endpoint_view(next(row for row in rows if row["id"] == webhook_id))

        return _answer(request, await _write(api, change))

    return routes


def _deliveries(api: Api) -> APIRouter:
    """Return the routes of what was announced."""
    routes = APIRouter()

    @routes.get("/v1/webhooks/deliveries", **schemas.route(
        "List what was sent to your webhooks and callbacks", schemas.DeliveryPage))  # fmt: skip
    async def listing(
        request: Request, video_id: schemas.OfVideo = None, limit: schemas.Limit = 20
    ) -> Response:
        who = await _who(api, request)
        rows = await _read(api, lambda c: webhooks.list_deliveries(
            c, who.account_id, video_id=video_id, limit=limit + 1
        ))  # fmt: skip
        found = [views.delivery_view(row) for row in rows[:limit]]
        return _answer(request, views.listed(found, len(rows) > limit))

    @routes.post("/v1/webhooks/deliveries/{delivery_id}/replay", **schemas.route(
        "Send a delivery again, or all those of a video", schemas.Replayed, 404, 409))  # fmt: skip
    async def replay(request: Request, delivery_id: schemas.AnId) -> Response:
        who = await _who(api, request)
        count = await _write(
            api, lambda c: webhooks.replay(c, who.account_id, delivery_id, time.time())
        )
        told = {"id": delivery_id, "object": "webhook.replay", "count": count}
        return _answer(request, told)

    return routes


def _coming_in(api: Api) -> APIRouter:
    """Return the routes that need no key: how to get one."""
    routes, settings = APIRouter(), api.service.settings

    @routes.post("/v1/applications", **schemas.taking(
        "application", "Apply for access", schemas.Received, required=("contact",),
        done=202))  # fmt: skip
    async def applying(request: Request) -> Response:
        if not settings.signup:
            raise SignupOff("this service takes no applications: its setting `signup` is off")
        _within_rate(api, request, "applications")
        fields = await _fields(api, request, "application")
        contact = _text(fields, "contact", 320)
        note = _text(fields, "note", invitations.NOTE_CHARS, "")
        await _write(api, lambda c: invitations.apply(c, contact, note, time.time()))
        return _answer(request, RECEIVED, status=202)

    @routes.post("/v1/invitations/redeem", **schemas.taking(
        "redemption", "Open an account with an invitation", schemas.Opened, 404, 410,
        required=("code", "name"), done=201))  # fmt: skip
    async def redeem(request: Request) -> Response:
        _within_rate(api, request, "invitations")
        fields = await _fields(api, request, "redemption")
        code = _text(fields, "code", schemas.MAX_CODE_CHARS)
        name = _text(fields, "name", schemas.MAX_NAME_CHARS)
        now = time.time()
        made = await _write(api, lambda c: invitations.redeem(c, code, name, settings, now))
        told = {
            "object": "invitation.redeemed",
            "account": {
                "id": made.account["id"], "object": "account", "name": made.account["name"],
                "tier": made.account["tier"],
            },
            "key": views.new_key_view(made.key, signing=False, now=now),
        }  # fmt: skip
        return _answer(request, told, status=201, secret=True)

    return routes


def _within_rate(api: Api, request: Request, kind: str) -> None:
    """Count a request without a key, by the address that it comes from.

    Raises:
        TooFast: it is one too many.
    """
    host = "unknown" if request.client is None else request.client.host
    request.state.rate = api.rates.take(f"address {_network(host)}", kind, PER_MINUTE[kind])


def _network(host: str) -> str:
    """Return an address, or of IPv6 the network that one household has."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return shown(host)
    if address.version == 6:
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return str(address)
