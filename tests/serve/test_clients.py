"""OpenAI's own client, as its users have it, against the service."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from served import picture, served

from kineograph.serve.webhooks import account_secret, signed

openai = pytest.importorskip("openai")
from openai.resources.videos import Videos  # noqa: E402

# OpenAI has ended its own service, and says so at every call of the client's.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PROMPT = "a red ball bounces on a wooden floor"


@pytest.fixture(scope="module")
def service(new_database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    with served(new_database(folder), folder) as found:
        yield found


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def video(client):
    found = client.videos.create_and_poll(prompt=PROMPT)
    assert found.status == "completed"
    return found


def test_a_video_is_made_and_polled(client, video):
    assert video.id.startswith("video_") and video.object == "video" and video.progress == 100
    assert (video.model, video.size, video.seconds) == ("nano", "256x256", "2.5")
    assert (video.prompt, video.error) == (PROMPT, None)
    assert video.completed_at >= video.created_at
    again = client.videos.retrieve(video.id)
    assert again.to_dict() | {"preview_url": 0} == video.to_dict() | {"preview_url": 0}


def test_a_video_is_created_without_and_with_a_file(client, service):
    plain = client.videos.create(prompt=PROMPT, model="nano", seconds="2", size="320x180")
    assert plain.status in ("queued", "in_progress") and plain.size == "320x180"
    assert plain.seconds == "2.1" and plain.queue_position is not None
    for file in (("first.png", picture(), "image/png"), io.BytesIO(picture(400, 300, "JPEG"))):
        made = client.videos.create(prompt=PROMPT, input_reference=file)
        assert made.inputs == ["image"] and service.done(made.id)["status"] == "completed"
    assert service.done(plain.id)["status"] == "completed"


def test_what_the_model_cannot_make_is_refused_with_what_it_can(client):
    # Those of Sora, which the client's documentation has.
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(prompt=PROMPT, seconds="4", size="720x1280")
    assert refused.value.param == "size" and "256x256" in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(prompt=PROMPT, seconds="4")
    assert refused.value.param == "seconds" and "'4' cannot be made" in refused.value.message
    with pytest.raises(openai.BadRequestError, match=r"sora-2.*allowed: nano"):
        client.videos.create(prompt=PROMPT, model="sora-2")
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve("video_none")


def test_pages_of_videos(client):
    made = [client.videos.create(prompt=f"{PROMPT} {i}").id for i in range(5)]
    page = client.videos.list(limit=2)
    assert [v.id for v in page.data] == made[:-3:-1] and page.has_more
    every = [v.id for v in client.videos.list(limit=2)]
    assert every[:5] == made[::-1] and len(set(every)) == len(every)
    oldest = [v.id for v in client.videos.list(limit=3, order="asc")]
    assert oldest == every[::-1]
    assert [v.id for v in client.videos.list(after=made[1], limit=1).data] == [made[0]]


def test_files_of_a_video(client, video, tmp_path):
    content = client.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4"
    content.write_to_file(tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
    for variant in ("thumbnail", "spritesheet"):
        found = client.videos.download_content(video.id, variant=variant)
        Image.open(io.BytesIO(found.content)).verify()
    waiting = client.videos.create(prompt=PROMPT, extra_body={"steps": "1000"})
    with pytest.raises(openai.ConflictError, match="has no video yet"):
        client.videos.download_content(waiting.id)
    client.videos.delete(waiting.id)


def test_a_video_is_remixed(client, video):
    made = client.videos.remix(video.id, prompt="a blue ball")
    assert made.remixed_from_video_id == video.id and made.prompt == "a blue ball"
    assert made.size == video.size and made.kind == "remix"


@pytest.mark.skipif(not hasattr(Videos, "edit"), reason="this client knows no edits")
def test_a_video_is_edited_and_extended(client, service, video):
    content = client.videos.download_content(video.id).content
    made = client.videos.edit(prompt="at night", video=("a.mp4", content, "video/mp4"))
    assert made.kind == "edit" and made.remixed_from_video_id is None
    longer = client.videos.extend(
        prompt="it stops", video=("a.mp4", content, "video/mp4"), seconds="2"
    )
    assert longer.kind == "extend"
    # The client of today takes no {"id": ...} for a video; as JSON it goes through.
    named = client.videos.edit(
        prompt="at night", video=openai.omit if hasattr(openai, "omit") else openai.NOT_GIVEN,
        extra_body={"video": {"id": video.id}},
        extra_headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert named.remixed_from_video_id == video.id
    for id in (made.id, longer.id, named.id):
        assert service.done(id)["status"] == "completed"


def test_fields_of_ours_go_through_as_nested_forms(client):
    made = client.videos.create(
        prompt=PROMPT, extra_body={"steps": 7, "seed": 5, "metadata": {"a": "b"}}
    )
    assert made.request["steps"] == 7 and made.seed == 5 and made.metadata == {"a": "b"}


def test_a_video_is_deleted(client):
    made = client.videos.create(prompt=PROMPT)
    assert client.videos.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(made.id)


def test_a_cancelled_video_ends_the_polling(client, service):
    made = client.videos.create(prompt=PROMPT, extra_body={"steps": "1000"})
    service.client.post(f"/v1/videos/{made.id}/cancel")
    found = client.videos.poll(made.id)
    assert found.status == "failed" and found.error.code == "cancelled"


def test_a_conflict_is_not_sent_again(service, video):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=2) as client:
        sent = []
        client._client.event_hooks["request"].append(lambda request: sent.append(request.url.path))
        with pytest.raises(openai.ConflictError):
            client.post(f"/videos/{video.id}/cancel", cast_to=object)
        assert len(sent) == 1


async def _one(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
        return await client.videos.create_and_poll(prompt=PROMPT)


def test_the_asynchronous_client(service):
    import asyncio

    assert asyncio.run(_one(service.url)).status == "completed"


@pytest.mark.skipif(not hasattr(openai.OpenAI, "webhooks"), reason="this client knows no webhooks")
def test_webhooks_are_unwrapped(client, service):
    settings = service.rig.settings
    secret = account_secret(settings, "local")
    import time

    now = time.time()
    body = json.dumps({"id": "evt_1", "object": "event", "type": "video.completed",
                       "created_at": int(now), "data": {"id": "video_1"}})  # fmt: skip
    headers = signed([secret, "whsec_" + "YWJj" * 11], "evt_1", body, now)
    for known in (secret, "whsec_" + "YWJj" * 11):
        event = client.webhooks.unwrap(body, headers, secret=known)
        assert event.type == "video.completed" and event.data.id == "video_1"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body + " ", headers, secret=secret)
