import pytest
from fastapi.testclient import TestClient

from kineograph.serve.app import create_app
from kineograph.serve.database import Database
from kineograph.serve.schema import migrate
from kineograph.serve.settings import Settings


@pytest.fixture
def client(tmp_path, request):
    settings = Settings(data=str(tmp_path), generator="fake", open=request.param)
    database = Database(settings.database_url())
    migrate(database)
    with TestClient(create_app(settings, database), base_url="http://127.0.0.1:8000") as client:
        yield client
    database.close()


@pytest.mark.parametrize("client", ["auto"], indirect=True)
def test_without_keys_a_page_of_another_site_is_served_nothing(client):
    assert client.get("/v1/videos").status_code == 200
    rebound = client.get("/v1/videos", headers={"Host": "evil.example:8000"})
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (403, "wrong_host")
    for origin in ("https://evil.example", "null", "https://[", "https://localhost.evil.example"):
        sent = client.post("/v1/videos", data={"prompt": "a ball"}, headers={"Origin": origin})
        assert (sent.status_code, sent.json()["error"]["code"]) == (403, "wrong_origin")
    assert client.get("/v1/videos").json()["data"] == []
    own = {"Origin": "http://localhost:8000", "Host": "localhost:8000"}
    assert client.get("/v1/videos", headers=own).status_code == 200


@pytest.mark.parametrize("client", ["no"], indirect=True)
def test_with_keys_any_name_will_do(client):
    assert client.get("/v1/videos", headers={"Host": "video.example"}).status_code == 401
