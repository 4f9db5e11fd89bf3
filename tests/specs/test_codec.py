"""The canonical document form: what it writes, and how it refuses what it cannot read."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs import codec, fields
from specs.errors import MalformedDocument
from specs.plan import Activate, Release, Resize, Route, Step, Switch, Transfer


@attrs.frozen(kw_only=True)
class Sample:
    name: str = fields.name()
    count: int = fields.natural()
    note: str | None = None
    steps: tuple[Step, ...] = ()


SAMPLE = Sample(
    name="a",
    count=3,
    steps=(
        Transfer(id=0, blob="llm/0", route=0, bytes_per_second=5, start_ns=1, end_ns=2),
        Activate(id=1, pipeline="p", at_ns=4),
        Release(id=2, blob="llm/0", place="n0/gpu0", at_ns=9),
    ),
)


def test_round_trip_and_canonical_bytes():
    data = codec.encode(SAMPLE)
    assert codec.decode(Sample, data) == SAMPLE
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert codec.digest(SAMPLE) == codec.digest(codec.decode(Sample, data))


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b'{"name":"a","count":3,"coun":1}', "unknown key 'coun'; did you mean count?"),
        (b'{"name":"a"}', "lacks count"),
        (b'{"name":"a","count":"3"}', "document.count is '3'; a whole number is wanted"),
        (b'{"name":"a","count":true}', "document.count is True; a whole number is wanted"),
        (b'{"name":"a","count":3.0}', "3.0 is not a whole number"),
        (b'{"name":"a","count":NaN}', "NaN is not a whole number"),
        (b'{"name":"a","count":-1}', "Sample.count is -1; it must be a whole number from 0"),
        (b'{"name":"a","count":99999999999999999999999}', "out of range"),
        (b'{"name":"","count":1}', "Sample.name is ''; a name is"),
        (b'{"name":"a","name":"b","count":1}', "'name' is given twice"),
        (
            b'{"name":"a","count":1,"steps":[{"kind":"teleport"}]}',
            "document.steps[0].kind is 'teleport'; one of transfer",
        ),
        (
            b'{"name":"a","count":1,"steps":[{"kind":"resize","id":1,"pipeline":"p","slots":0,"at_ns":0}]}',
            "document.steps[0]: Resize.slots is 0; it must be a whole number from 1",
        ),
        (
            b'{"name":"a","count":1,"steps":[{"kind":"activate","id":1,"pipeline":"p","slots":0,"at_ns":0}]}',
            "document.steps[0]: Activate.slots is 0; it must be a whole number from 1",
        ),
        (
            b'{"name":"a","count":1,"steps":[{"kind":"resize","id":1,"pipeline":"p","at_ns":0}]}',
            "document.steps[0] lacks slots",
        ),
        (b'{"name":"a","count":1,"steps":{}}', "document.steps is an object; a list is wanted"),
        (b'{"name":"a","count":1', "line 1, column 22: not JSON"),
        (b'\xff{"name":"a"}', "byte 0 of the document is not UTF-8"),
        (b"[" * 100_000, "nested deeper"),
        (b"[]", "document is a list; an object (Sample) is wanted"),
    ],
)
def test_bad_documents_get_one_sentence(document, sentence):
    with pytest.raises(MalformedDocument) as refusal:
        codec.decode(Sample, document)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_is_malformed_never_a_crash(data):
    with pytest.raises(MalformedDocument):
        codec.decode(Sample, data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "count", "steps", "kind", "x"]), inner)
    ),
)


@given(json_values)
def test_any_json_is_read_or_refused(document):
    data = json.dumps(document).encode()
    try:
        value = codec.decode(Sample, data)
    except MalformedDocument:
        return
    assert codec.decode(Sample, codec.encode(value)) == value


@attrs.frozen(kw_only=True)
class Text:
    text: str


def test_what_could_not_be_written_again_is_not_read():
    with pytest.raises(MalformedDocument, match=r"document\.text has half of a surrogate pair"):
        codec.decode(Text, b'{"text":"a\\ud800b"}')
    whole = codec.decode(Text, b'{"text":"\\ud83d\\ude00"}')
    assert codec.decode(Text, codec.encode(whole)) == whole


def test_every_step_kind_travels():
    for step in (
        Transfer(id=0, blob="b", route=0, bytes_per_second=1, start_ns=0, end_ns=1),
        Activate(id=1, pipeline="p", at_ns=0),
        Activate(id=1, pipeline="p", slots=2, at_ns=0),
        Resize(id=1, pipeline="p", slots=2, at_ns=0),
        Switch(id=2, old="p", new="q", continuity="drain", at_ns=0),
        Release(id=3, blob="b", place="x", at_ns=0),
    ):
        sample = Sample(name="a", count=0, steps=(step,))
        assert codec.decode(Sample, codec.encode(sample)) == sample
    assert codec.decode(Route, codec.encode(Route(links=("a", "b")))) == Route(links=("a", "b"))
