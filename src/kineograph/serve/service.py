"""What the service does, whichever dialect asks: take in, price, answer. It knows no HTTP.

A submission is checked whole before anything is written: its words, its numbers against the
model's row, its pictures and videos in a process of their own. Then one transaction queues it,
reserves its price and notes its idempotency key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from kineograph.errors import choice, shown
from kineograph.presets import get_preset
from kineograph.request import GenerationRequest, ResolvedRequest
from kineograph.resolving import resolve
from kineograph.serve import estimates, idempotency, store
from kineograph.serve.access import Identity
from kineograph.serve.board import Board
from kineograph.serve.database import Database
from kineograph.serve.fetch import FetchLimits, check_url
from kineograph.serve.forms import Upload
from kineograph.serve.ids import new_id
from kineograph.serve.intake import Intake, name_of
from kineograph.serve.policy import load_policy
from kineograph.serve.refusals import Conflict, Forbidden, NotFound, Refusal
from kineograph.serve.sealing import derive, load_secrets
from kineograph.serve.settings import MICRO, Settings
from kineograph.serve.storage import Storage
from kineograph.serve.submission import Submission, VideoView, with_paths
from kineograph.serve.tables import VideoRow, videos
from kineograph.serve.views import Links, view_of
from kineograph.spec import ModelSpec

# Seconds for which a request without a key that is sent again, as its client says, is the same:
# clients wait ten minutes for an answer.
RESENT = 900.0
SAME = 1.0  # seconds for which the rate of a model is not read again
LEFT_OPEN = ("output", "lora", "count", "format")  # of a request: the service's to say


@dataclass(frozen=True)
class Priced:
    """A request that can be carried out: resolved, and what it will take."""

    clip: ResolvedRequest
    spec: ModelSpec
    operations: float
    seconds: float  # of a worker


@dataclass(frozen=True)
class _Sent:
    """By what a request is known when it is sent again."""

    name: str  # the client's key, or one of what it says
    digest: str
    counts: float  # seconds for which the first one is the answer to the second; 0: never


class Service:
    """The state of one process of the service, and what it can be asked."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        self.storage = Storage(settings.storage_url())
        self.policy = load_policy(settings.policy)
        self.specs = {name: get_preset(name) for name in settings.offered()}
        secrets = load_secrets(settings)
        self.links = Links(*(derive(secret, "links") for secret in secrets))
        self.board = Board(database)
        self._rates: dict[str, tuple[float, float]] = {}  # when it was read, and the rate
        domains = [word.strip() for word in settings.fetch_domains.split(",") if word.strip()]
        self.fetch_limits = FetchLimits(
            max_bytes=settings.max_upload, allowed_domains=tuple(domains),
            allowed_networks=settings.networks(),
        )  # fmt: skip
        self.intake = Intake(settings, database, self.storage, self.fetch_limits)

    # Taking in.

    def spec(self, name: str | None) -> ModelSpec:
        """Return the row of a model that is offered, by default the first."""
        offered = self.settings.offered()
        return self.specs[choice("model", name, offered[0], offered)]

    def price(self, submission: Submission) -> Priced:
        """Return what a submission will take, its files left out of sight.

        Raises:
            RequestError: it cannot be carried out.
        """
        request = submission.request
        spec = self.spec(request.model)
        paths = {key: name_of(key, ref) for key, ref in submission.media.items()}
        request = with_paths(request, submission.media, paths)
        wanted = request.format
        request = replace(request, model=spec.name, output=None, format=None, count=None)
        clip = resolve(request, spec)
        if wanted not in (None, clip.format):
            raise Refusal(
                f"format {shown(wanted)} cannot be made of {clip.num_frames} frames; {clip.format} "
                "is what is made of them", param="format",
            )  # fmt: skip
        self.policy.check(request.prompt)
        work = estimates.operations(clip, spec)
        return Priced(clip, spec, work, work / self._rate(spec.name))

    def _rate(self, model: str) -> float:
        """Return a model's operations a second, as they were known within the last second."""
        read, rate = self._rates.get(model, (-SAME, 0.0))
        if time.monotonic() - read >= SAME:
            with self.database.read() as connection:
                rate = 1.0 / estimates.seconds(connection, model, 1.0)
            self._rates[model] = (time.monotonic(), rate)
        return rate

    def submit(
        self,
        who: Identity,
        submission: Submission,
        files: Mapping[str, Upload],
        *,
        base: str = "",
        key: str | None = None,
        again: bool | None = None,
        digest: str = "",
    ) -> VideoRow:
        """Queue a video and return its row; that of before, where its idempotency key has made one.

        `base` is the address of the service as its sender knows it; `again` says whether a client
        sends for a second time what it has sent without a key, None that it never would.

        Raises:
            RequestError: the submission cannot be carried out, or is not allowed.
        """
        who.require("videos:write")
        sent = None
        if key is not None:
            sent = _Sent(key, digest, idempotency.KEPT)
        elif again is not None:
            sent = _Sent(f"sent-{digest}", digest, RESENT if again else 0.0)
        if sent is not None and sent.counts:
            with self.database.read() as connection:
                now = time.time()
                made = idempotency.find(connection, who.account_id, sent.name, digest, now)
                known = made and self._made(connection, who, made, sent, now)
            if known:
                return known
        if submission.callback_url is not None:
            self._check_callback(submission.callback_url)
        priced = self.price(submission)
        id = new_id("video")
        prompt = submission.request.prompt
        inputs = self.intake.take_in(
            who, id, submission.media, files, lambda paths: self.policy.check(prompt, paths)
        )
        new = self._new(who, id, submission, priced, inputs, base)
        row = None
        try:
            row = self._queue(who, new, sent)
        finally:
            if row is None or row["id"] != id:
                self.intake.drop(inputs)
        return row

    def _queue(self, who: Identity, new: store.NewVideo, sent: _Sent | None) -> VideoRow:
        """Queue a video in one transaction; return its row, or that of the one made before."""
        with self.database.write() as connection:
            now = time.time()
            account = who.account_id
            while sent is not None and (
                made := idempotency.begin(connection, account, sent.name, sent.digest, now)
            ):
                known = self._made(connection, who, made, sent, now)
                if known is not None:
                    return known
                idempotency.forget(connection, account, sent.name)
            row = store.submit(
                connection, new, self.settings, now,
                waiting=self.board.length(), foretell=self.board.take,
            )  # fmt: skip
            if sent is not None:
                idempotency.finish(connection, account, sent.name, new.id)
            return row

    def _made(
        self, connection: Connection, who: Identity, id: str, sent: _Sent, now: float
    ) -> RowMapping | None:
        """Return the video that was made of the same request, if it is the answer to this one."""
        if not sent.counts:
            return None
        try:
            row = store.get(connection, id, who.account_id)
        except NotFound:
            raise Conflict("the video that this request has made before was deleted") from None
        return row if row["created_at"] > now - sent.counts else None

    def _new(
        self, who: Identity, id: str, submission: Submission, priced: Priced,
        inputs: Mapping[str, str], base: str,
    ) -> store.NewVideo:  # fmt: skip
        clip = priced.clip
        request = clip.as_request().to_dict()
        request = {k: v for k, v in request.items() if k not in LEFT_OPEN}
        told = {
            "size": f"{clip.out_width}x{clip.out_height}",
            "fps": clip.delivered_fps,
            "seed": clip.seed,
            "operations": priced.operations,
            "media": list(submission.media),
            "metadata": dict(submission.metadata),
            "expires_after": submission.expires_after,
            "base": base,
        }
        return store.NewVideo(
            id=id, account_id=who.account_id, key_id=who.key_id, dialect=submission.dialect,
            kind=submission.kind, model=priced.spec.name, request=request, inputs=inputs,
            told=told, seconds=clip.duration, steps=clip.steps, cost_seconds=priced.seconds,
            remixed_from=submission.remixed_from, external_id=submission.external_task_id,
            callback_url=submission.callback_url,
        )  # fmt: skip

    def _check_callback(self, url: str) -> None:
        if not self.settings.callbacks:
            raise Forbidden("callback_url is not served here; ask for the video's state instead")
        check_url(url, replace(self.fetch_limits, allowed_domains=()))

    # Answering.

    def view(self, row: VideoRow, base: str) -> VideoView:
        """Return what is shown of a video."""
        return view_of(row, self.board.standing_of(row), base, self.links)

    def read(self, who: Identity, id: str) -> RowMapping:
        """Return a video's row; raises `NotFound`."""
        who.require("videos:read")
        with self.database.read() as connection:
            return store.get(connection, id, who.account_id)

    def peek(self, id: str) -> RowMapping:
        """Return a video's row for whoever was let see it before, though it be deleted since."""
        with self.database.read() as connection:
            query = select(videos).where(videos.c.id == id)
            return connection.execute(query).mappings().one()

    def asked_with(self, who: Identity, id: str) -> GenerationRequest:
        """Return what a video was asked with, for those that are made after it.

        Raises:
            NotFound: there is none.
        """
        row = self.read(who, id)
        told = json.loads(row["request"])
        names = {f.name for f in fields(GenerationRequest)} - {"prompt", "model"}
        return GenerationRequest(
            row["prompt"], model=row["model"], **{n: told[n] for n in names & set(told)}
        )

    def change(self, who: Identity, id: str, how: Callable[[Connection], Any]) -> RowMapping:
        """Change a video by a function of the store and return its row."""
        who.require("videos:write")
        with self.database.write() as connection:
            how(connection)
            return store.get(connection, id, who.account_id)

    def models(self) -> list[dict[str, Any]]:
        """Return what each model can do, its limits and its prices."""
        with self.database.read() as connection:
            return [self._model(connection, spec) for spec in self.specs.values()]

    def _model(self, connection: Connection, spec: ModelSpec) -> dict[str, Any]:
        rate = self.settings.prices.get(spec.name, self.settings.price)
        sizes = {
            name or "default": {r: f"{s.out_width}x{s.out_height}" for r, s in table.items()}
            for name, table in spec.resolutions.items()
        }
        frames = spec.allowed_frames()
        usual = estimates.usual(connection, spec)
        return {
            "id": spec.name, "object": "model", "summary": spec.summary,
            "languages": list(spec.languages), "licence": spec.licence, "sizes": sizes,
            "seconds": [round(n / spec.fps, 4) for n in frames], "frames": list(frames),
            "fps": sorted({spec.fps, spec.out_fps}), "steps": spec.steps,
            "max_prompt_chars": spec.max_prompt_chars, "needs": list(spec.needs),
            "price": {
                "credits_per_worker_second": rate,
                "worker_seconds_per_output_second": round(usual, 3),
                "credits_per_output_second": round(usual * rate, 3),
                "cost_per_output_second": usual * self.settings.worker_cost,
            },
        }  # fmt: skip

    def estimate(self, who: Identity, submission: Submission) -> dict[str, Any]:
        """Return what a submission would take and cost, and when it would be done."""
        who.require("videos:read")
        priced = self.price(submission)
        tier = self.settings.tier(who.tier)
        cost = self.settings.price_of(priced.spec.name, priced.seconds) if tier.pays else 0
        waits = self.board.wait_for(who.account, tier, priced.seconds)
        clip = priced.clip
        return {
            "object": "video.estimate", "model": priced.spec.name,
            "size": f"{clip.out_width}x{clip.out_height}", "seconds": f"{clip.duration:g}",
            "fps": clip.delivered_fps, "worker_seconds": round(priced.seconds, 2),
            "operations": priced.operations, "cost": cost / MICRO,
            "memory_bytes": estimates.memory(clip, priced.spec),
            "queue_position": waits.position, "starts_in_seconds": round(waits.starts_in, 1),
            "eta_seconds": round(waits.ends_in, 1),
        }  # fmt: skip
