"""From a row of the store to what is shown of a video."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

from kineograph.serve.scheduler import Standing
from kineograph.serve.settings import MICRO
from kineograph.serve.submission import VideoView
from kineograph.serve.tables import VideoRow

LINK_SECONDS = 24 * 3600.0  # for which a link to a file that needs no key is good


class Links:
    """Addresses of files: for those with a key, and signed ones for those without."""

    def __init__(self, *secrets: bytes) -> None:
        self._secrets = secrets  # the first one signs; links of the others are good too

    def signature(self, id: str, variant: str, expires: int) -> str:
        """Return what proves that a link was given out, in hex."""
        return self._signature(self._secrets[0], id, variant, expires)

    @staticmethod
    def _signature(secret: bytes, id: str, variant: str, expires: int) -> str:
        text = f"{id} {variant} {expires}".encode()
        return hmac.new(secret, text, hashlib.sha256).hexdigest()[:40]

    def signed(self, base: str, id: str, variant: str) -> str:
        """Return a link that anybody may follow for a day."""
        # By whole hours: the same link all the while, so that caches may keep what it shows.
        expires = int((time.time() + LINK_SECONDS) // 3600 * 3600 + 3600)
        signature = self.signature(id, variant, expires)
        return f"{base}/files/{id}/{variant}?expires={expires}&signature={signature}"

    def is_good(self, id: str, variant: str, expires: int, signature: str, now: float) -> bool:
        """Whether a link is ours and not too old."""
        ours = [self._signature(secret, id, variant, expires) for secret in self._secrets]
        known = [hmac.compare_digest(one.encode(), signature.encode()) for one in ours]
        return any(known) and now < expires


def view_of(row: VideoRow, standing: Standing | None, base: str, links: Links) -> VideoView:
    """Return what is shown of a video; `base` is the address of the service."""
    told, id = json.loads(row["told"]), row["id"]

    def link(column: str, variant: str) -> str | None:
        return None if row[column] is None else links.signed(base, id, variant)

    times = [row[n] for n in ("created_at", "started_at", "completed_at") if row[n] is not None]
    return VideoView(
        id=id,
        state="deleted" if row["deleted_at"] is not None else row["state"],
        model=row["model"],
        prompt=row["prompt"],
        seconds=row["seconds"],
        size=told["size"],
        created_at=row["created_at"],
        updated_at=max(times),
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        expires_at=row["expires_at"],
        progress=row["progress"],
        stage=row["stage"],
        fps=told["fps"],
        seed=told["seed"],
        queue_position=None if standing is None else standing.position,
        eta_seconds=None if standing is None else round(standing.ends_in, 1),
        cost=row["charged"] / MICRO if row["state"] == "completed" else None,
        estimated_cost=row["reserved"] / MICRO,
        error_code=row["error_code"] if row["state"] in ("failed", "cancelled") else None,
        error=row["error"] if row["state"] in ("failed", "cancelled") else None,
        kind=row["kind"],
        dialect=row["dialect"],
        remixed_from=row["remixed_from"],
        external_task_id=row["external_id"],
        callback_url=row["callback_url"],
        video_url=link("output", "video"),
        preview_url=link("preview", "preview"),
        thumbnail_url=link("thumbnail", "thumbnail"),
        media=tuple(told["media"]),
        request=json.loads(row["request"]),
        metadata=told["metadata"],
    )
