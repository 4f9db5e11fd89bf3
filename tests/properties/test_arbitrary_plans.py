"""Whatever can be decoded as a plan is judged, never a crash; and plans survive their documents."""

import json
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import codec
from specs.blobs import Blob
from specs.certificates import FORMULAS
from specs.checker import Rejected, verify
from specs.errors import MalformedDocument
from specs.plan import (
    Activate,
    Certificate,
    Claim,
    Continuity,
    HandOver,
    KvPath,
    Measure,
    Method,
    Pipeline,
    Plan,
    Provenance,
    Release,
    Route,
    RoutingWeight,
    Stage,
    Switch,
    Transfer,
)
from specs.units import INTEGER_MAX
from specs.witness import Price
from tests.live_plans import LIVE
from tests.plans import GOOD, a_chain, a_relocation
from tests.properties.simulation import faults

PROBLEM, BASE = a_relocation()
places = st.sampled_from([place.id for place in PROBLEM.cluster.places[:5]] + ["nowhere"])
links = st.sampled_from([link.id for link in PROBLEM.cluster.links] + ["no>link"])
llms = st.sampled_from(["moved", "stays", "unheard-of"])
blobs = st.sampled_from([*(blob.id for blob in BASE.blobs), "x"])
pipelines = st.sampled_from([*(pipeline.id for pipeline in BASE.pipelines), "x"])
numbers = st.integers(0, 12) | st.integers(0, INTEGER_MAX)
counts = st.integers(1, 12) | st.integers(1, INTEGER_MAX)


def some(strategy, most=4):
    return st.lists(strategy, max_size=most).map(tuple)


paths = st.builds(KvPath, old_stage=numbers, new_stage=numbers, route=numbers, bytes_per_second=counts)
hand_overs = st.builds(
    HandOver,
    start_ns=numbers,
    rounds_max=counts,
    rest_tokens_max=counts,
    copy_tokens_min=numbers,
    pause_ns=counts,
    paths=some(paths),
)
steps = st.one_of(
    st.builds(
        Transfer, id=numbers, blob=blobs, route=numbers, bytes_per_second=counts, start_ns=numbers, end_ns=numbers
    ),
    st.builds(Activate, id=numbers, pipeline=pipelines, at_ns=numbers),
    st.builds(
        Switch,
        id=numbers,
        old=pipelines,
        new=pipelines,
        continuity=st.sampled_from(Continuity),
        hand_over=st.none() | hand_overs,
        at_ns=numbers,
    ),
    st.builds(Release, id=numbers, blob=blobs, place=places, at_ns=numbers),
)
stages = st.builds(Stage, place=places, first_unit=numbers, end_unit=counts, kv_bytes=numbers, workspace_bytes=numbers)
plans = st.builds(
    Plan,
    format=st.integers(0, 2),
    problem=st.just(BASE.problem) | st.just("0" * 64),
    parent=st.none() | st.text(max_size=3) | st.just("a" * 64),
    generation=counts,
    provenance=st.builds(Provenance, planner=st.just("p"), solvers=some(st.text(max_size=3)), seed=numbers),
    blobs=st.just(BASE.blobs)
    | some(st.builds(Blob, id=blobs, llm=llms, first_tensor=numbers, end_tensor=counts, bytes=counts)),
    routes=st.just(BASE.routes) | some(st.builds(Route, links=some(links))),
    pipelines=st.just(BASE.pipelines)
    | some(
        st.builds(
            Pipeline,
            id=pipelines,
            llm=llms,
            stages=some(stages),
            slots=counts,
            request_tokens_max=counts,
            iteration_tokens_max=counts,
        )
    ),
    steps=st.just(BASE.steps) | some(steps, 8),
    routing=st.just(BASE.routing) | some(st.builds(RoutingWeight, pipeline=pipelines, weight=counts)),
    certificates=st.just(BASE.certificates)
    | some(
        st.builds(
            Certificate,
            claim=st.sampled_from(Claim),
            subject=llms | pipelines,
            measure=st.sampled_from(Measure),
            value=numbers,
            bound=numbers,
            method=st.sampled_from(Method),
            formula=st.sampled_from([*FORMULAS, "none", "magic"]),
            witness=some(st.builds(Price, name=places | links, amount=numbers)),
        )
    ),
)


@settings(max_examples=500)
@given(plans)
def test_any_plan_travels_and_is_judged(plan):
    assert codec.decode(Plan, codec.encode(plan)) == plan
    assert isinstance(verify(PROBLEM, plan), Rejected) == bool(faults(PROBLEM, plan))


scalars = st.none() | st.booleans() | numbers | st.integers(-5, -1) | blobs | places | links | pipelines | llms


def _holes(document, path=()):
    """Paths to every value inside a document."""
    children = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in children:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _holes(value, (*path, key))


GOOD_DOCUMENTS = {name: (make()[0], codec.encode(make()[1])) for name, make in {**GOOD, **LIVE}.items()}
HOLES = {name: list(_holes(json.loads(data))) for name, (_, data) in GOOD_DOCUMENTS.items()}


@settings(max_examples=500)
@given(st.data())
def test_a_good_document_with_any_value_replaced_is_refused_judged_or_good(data):
    name = data.draw(st.sampled_from(sorted(GOOD_DOCUMENTS)))
    problem, good = GOOD_DOCUMENTS[name]
    document = json.loads(good)
    for path in data.draw(st.lists(st.sampled_from(HOLES[name]), min_size=1, max_size=3)):
        *way, last = path
        inner = document
        try:
            for key in way:
                inner = inner[key]
            inner[last] = data.draw(scalars)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has removed this place
    try:
        plan = codec.decode(Plan, json.dumps(document).encode())
    except MalformedDocument:
        return
    assert isinstance(verify(problem, plan), Rejected) == bool(faults(problem, plan))


@pytest.mark.parametrize("make", [*GOOD.values(), *LIVE.values()], ids=[*GOOD, *LIVE])
def test_good_plans_survive_their_documents(make):
    _, plan = make()
    assert codec.decode(Plan, codec.encode(plan)) == plan
    assert codec.digest(plan) == codec.digest(codec.decode(Plan, codec.encode(plan)))


def test_every_order_of_members_is_read():
    _, plan = a_chain()
    document = json.loads(codec.encode(plan))
    keys = list(document)
    Random(1).shuffle(keys)
    assert codec.decode(Plan, json.dumps({key: document[key] for key in keys}).encode()) == plan
    assert attrs.evolve(plan) == plan
