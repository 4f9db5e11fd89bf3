"""Health, metrics, status, plans, the journal and the schema."""

import httpx
import pytest

from executor.api.serving import Health, Refusal, Refused
from specs import codec
from specs.protocols.nouns import Copy
from specs.protocols.plan_switch_nouns import PlanName
from specs.state import Load, RunningNode
from tests.executor.api.fake_serving import LLM


def test_health_is_200_only_if_the_node_can_generate(url, serving):
    assert httpx.get(f"{url}/health").status_code == 200
    serving.healthy = Health(ok=False, sentence="3 of 8 blobs are here")
    answer = httpx.get(f"{url}/health")
    assert answer.status_code == 503
    assert answer.json() == {"ok": False, "sentence": "3 of 8 blobs are here"}
    assert answer.headers["retry-after"] == "1"


def sample(url, line):
    for each in httpx.get(f"{url}/metrics").text.splitlines():
        if each.startswith(line + " "):
            return float(each.removeprefix(line))
    return 0.0


def test_metrics_count_requests_tokens_and_times(url, serving):
    ok = 'holdfast_http_requests_total{route="/v1/completions",status="200"}'
    wrong = 'holdfast_http_requests_total{route="/v1/completions",status="400"}'
    unmatched = 'holdfast_http_requests_total{route="unmatched",status="404"}'
    first = f'holdfast_time_to_first_token_seconds_count{{llm="{LLM}"}}'
    between = f'holdfast_inter_token_seconds_count{{llm="{LLM}"}}'
    generated = f'holdfast_generated_tokens_total{{llm="{LLM}"}}'
    prompt = f'holdfast_prompt_tokens_total{{llm="{LLM}"}}'
    names = (ok, wrong, unmatched, first, between, generated, prompt)
    before = [sample(url, name) for name in names]
    httpx.post(f"{url}/v1/completions", json={"model": LLM, "prompt": [9, 9, 9], "max_tokens": 10})
    httpx.post(f"{url}/v1/completions", json={"model": LLM})
    httpx.get(f"{url}/nowhere/{'x' * 50}")
    assert [sample(url, name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 1, 1, 9, 10, 3]
    assert sample(url, "holdfast_requests_running") == 5
    assert sample(url, "holdfast_requests_waiting") == 7


def test_metrics_are_plain_prometheus_text(url, serving):
    from prometheus_client.parser import text_string_to_metric_families

    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert {family.name for family in text_string_to_metric_families(answer.text)} >= {"holdfast_http_requests"}


def test_status(url, serving):
    assert httpx.get(f"{url}/status").json() == {"node": "n0", "generation": 3}


def test_a_plan_is_handed_over_as_it_came(url, serving):
    document = b'{"plan": {}, "problem":\t{"x": "\xc3\xa4"}}'
    answer = httpx.put(f"{url}/plan", content=document, headers={"content-type": "application/json"})
    assert serving.documents == [document]
    assert (answer.status_code, answer.json()) == (200, {"generation": 3, "digest": "ab" * 32, "phase": "adopted"})


@pytest.mark.parametrize(
    ("kind", "status"),
    [(Refusal.MALFORMED, 400), (Refusal.REJECTED, 422), (Refusal.STALE, 409), (Refusal.WRONG_CLUSTER, 409)],
)
def test_a_refused_plan_says_every_reason(url, serving, kind, status):
    serving.adopted = Refused(kind=kind, reasons=("LINK at 3: too fast.", "MEM at 4: too large."))
    answer = httpx.put(f"{url}/plan", content=b"{}")
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == kind
    assert answer.json()["error"]["message"] == "LINK at 3: too fast.\nMEM at 4: too large."


def test_a_plan_larger_than_other_bodies_is_taken(url, serving):
    answer = httpx.put(f"{url}/plan", content=b" " * (20 * 2**20))
    assert answer.status_code == 200
    assert len(serving.documents[0]) == 20 * 2**20


def test_the_plan_comes_back_as_it_was_put(url, serving):
    assert httpx.get(f"{url}/plan").status_code == 404
    assert httpx.get(f"{url}/plan").json()["error"]["code"] == "no_plan"
    serving.plan = b'{"problem":\t{}}'
    answer = httpx.get(f"{url}/plan")
    assert (answer.status_code, answer.content) == (200, serving.plan)
    assert answer.headers["content-type"].startswith("application/json")


def test_the_state_is_canonical_json(url, serving):
    load = Load(pipeline="p", live_requests=2, live_tokens=30)
    held = (Copy(blob="llm/0", place="n0/gpu0"),)
    plan = PlanName(generation=3, digest="ab" * 32)
    serving.running = RunningNode(node="n0", plan=plan, generation_max=4, held=held, leads=(load,))
    answer = httpx.get(f"{url}/state")
    assert answer.content == codec.encode(serving.running)
    assert codec.decode(RunningNode, answer.content) == serving.running


def test_the_journal_from_a_line_on(url, serving):
    answer = httpx.get(f"{url}/journal", params={"since": 1, "follow": "false"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.text == '{"line":1}\n{"line":2}\n'


def test_the_journal_as_server_sent_events(url, serving):
    answer = httpx.get(f"{url}/journal?follow=false", headers={"accept": "text/event-stream"})
    assert answer.text == "".join(f'data: {{"line":{line}}}\n\n' for line in range(3))


def test_a_follower_gets_the_headers_of_a_quiet_journal(url, serving):
    serving.lines = []
    with httpx.stream("GET", f"{url}/journal", timeout=120) as answer:
        assert answer.status_code == 200


def test_the_schema_has_every_route_and_body(url, serving):
    schema = httpx.get(f"{url}/schema").json()
    assert schema == httpx.get(f"{url}/schema/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/health",
        "/metrics",
        "/status",
        "/plan",
        "/state",
        "/journal",
    }
    body = schema["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rpartition("/")[2]
    assert {"prompt", "max_tokens", "stop"} <= set(schema["components"]["schemas"][name]["properties"])
    assert {"200", "400", "404", "503"} <= set(schema["paths"]["/v1/chat/completions"]["post"]["responses"])


def test_a_bug_is_a_500_without_traceback(url, serving, monkeypatch):
    def broken(_self):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(type(serving), "status", broken)
    answer = httpx.get(f"{url}/status")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
