"""The API answers as its OpenAPI document says, whatever it is sent: a short look at every route.

benchmarks/fuzz_api.py takes a long one, over the borders of every schema and over chains of
requests; both share benchmarks/fuzz_api.toml.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from served import served

from kineograph.serve.openai_dialect import ALLOWED, REFUSED

CONFIG = Path(__file__).parents[2] / "benchmarks" / "fuzz_api.toml"
EXAMPLES = 3  # of a route


@pytest.fixture(scope="module")
def service(new_database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with served(new_database(folder), folder) as found:
        yield found


@pytest.fixture(scope="module")
def schema(service):
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.config import SchemathesisConfig

    config = SchemathesisConfig.from_path(CONFIG)
    config.projects.default.phases.update(phases=["examples", "fuzzing"])
    config.projects.default.generation.update(max_examples=EXAMPLES, deterministic=True)
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config)


# What schemathesis warns of in itself is not ours, and as an error it breaks its strategies.
@pytest.mark.filterwarnings("ignore")
def test_every_route_keeps_to_its_schema(schema):
    from schemathesis.engine import events, from_schema

    asked, statuses, wrong = set(), set(), []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(str(getattr(event, "value", None) or event.exception))
        if not isinstance(event, events.ScenarioFinished):
            continue
        asked.add(event.recorder.label)
        for id, checks in event.recorder.checks.items():
            answer = event.recorder.interactions[id].response
            statuses.add(answer.status_code)
            wrong += [
                f"{event.recorder.label}: {check.failure_info.failure}, answered {answer.content!r}"
                for check in checks if check.failure_info is not None
            ]  # fmt: skip
    assert not wrong, "\n\n".join(wrong[:10])
    every = {f"{method.upper()} {path}" for path, operations in schema.raw_schema["paths"].items()
             for method in operations}  # fmt: skip
    assert every <= asked
    assert {200, 400, 404} <= statuses


def test_the_bodies_are_those_that_are_read(schema):
    raw = schema.raw_schema
    for path in ("/v1/videos", "/v1/videos/estimate", "/v1/videos/{video_id}/remix"):
        body = raw["paths"][path]["post"]["requestBody"]["content"]
        for kind in ("application/json", "multipart/form-data"):
            assert set(body[kind]["schema"]["properties"]) == {*ALLOWED, *REFUSED}
        assert body["application/json"]["schema"]["additionalProperties"] is False


def test_examples_are_accepted(service, schema):
    raw, count = schema.raw_schema["paths"], 0
    for path, operations in raw.items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            example = content.get("application/json", {}).get("example")
            if example is not None and "{" not in path and path.startswith("/v1/videos"):
                count += 1
                answer = service.client.post(path, json=example)
                assert answer.status_code == 200, (path, answer.text)
    assert count >= 3
