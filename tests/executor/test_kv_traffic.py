"""Messages of hand-overs: every one comes back as it was sent, and none that contradicts itself is read."""

import json
import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import traffic
from executor.choices import Choice, pack_tokens, unpack_tokens
from executor.engine.request import SamplingParams
from executor.errors import MalformedFrame
from executor.kv_traffic import Card, CopyKv, Guest, Handed, HandedOver, Invited, Kv, KvRow, Resume
from specs.errors import MalformedDocument
from specs.protocols.kv_hand_over_nouns import (
    Chunk,
    Count,
    Final,
    Fresh,
    HandOverId,
    Held,
    Hosting,
    Invitation,
    OpenSeat,
    Path,
    Row,
    Seats,
)
from tests.builders import a_digest

ID = HandOverId(old="old", new="new", number=2)
PATH = Path(old_stage=1, new_stage=0)
CARD = Card(
    request="n2:1",
    packed=pack_tokens((1, 2, 3)),
    prompt_tokens=2,
    max_tokens=9,
    end_tokens=(7,),
    choice=Choice.of(SamplingParams(temperature=0.5, seed=2**64 - 1)),
)
INVITATION = Invitation(
    id=ID,
    edition=3,
    paths=(PATH,),
    guests=("n2:1", "n2:2"),
    fresh=(Fresh(request="n2:1", tokens=3),),
    rest=(Final(request="n2:2", computed=4, tokens=5),),
)
CHUNK = Chunk(id=ID, path=PATH, request="n2:1", seat=0, start=2, end=5)
MESSAGES = (
    Invited(invitation=INVITATION, cards=(CARD,)),
    Invited(invitation=Invitation(id=ID, edition=1, is_over=True)),
    Hosting(id=ID, rows=(Row(request="n2:1", seat=0, held=4), Row(request="n2:2", is_refused=True)), is_whole=True),
    Seats(pipeline="new", stage=0, edition=5, seats=(OpenSeat(id=ID, request="n2:1", seat=0),)),
    Held(pipeline="new", stage=0, edition=5, counts=(Count(id=ID, request="n2:1", old_stage=1, tokens=4),)),
    CopyKv(id=ID, path=PATH, bytes_per_second=5, rows=(KvRow(request="n2:1", slot=1, seat=0, start=0, end=1),)),
    CopyKv(id=ID, path=PATH, rows=()),
    Kv(chunks=(CHUNK, attrs.evolve(CHUNK, request="n2:2", seat=1)), digest=a_digest("kv"), is_last=True),
    HandedOver(id=ID, guests=(Handed(request="n2:1", known=3),)),
    Resume(id=ID, guests=(Guest(request="n2:1", attempt="n2:9", tokens=4, packed=pack_tokens((8,))),)),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_back(message):
    found, rest = traffic.read(memoryview(b"".join(bytes(part) for part in traffic.write(message, b"xyz"))))
    assert (found, bytes(rest)) == (message, b"xyz")


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_packed_tokens_come_back(tokens):
    packed = pack_tokens(tokens)
    assert unpack_tokens(packed) == tuple(tokens)
    assert len(packed) <= 6 * len(tokens) + 2


@pytest.mark.parametrize("text", ["AQAAAA", "AQAAAB==", "AQA=", "AQAAAA==\n", "A", "é", "AQAA-A=="])
def test_what_is_not_packed_like_that_is_no_tokens(text):
    with pytest.raises(MalformedDocument, match="base64"):
        unpack_tokens(text)


def changed(message, change):
    document = json.loads(bytes(traffic.write(message)[1]))
    change(document["message"])
    header = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return memoryview(struct.pack("<I", len(header)) + header)


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, lambda said: said["cards"].clear()),
        (0, lambda said: said["cards"][0].update(packed=pack_tokens((1, 2, 3, 4)))),
        (0, lambda said: said["invitation"].update(edition=0)),
        (0, lambda said: said["invitation"]["id"].update(number=0)),
        (0, lambda said: said["cards"][0].update(packed="AQ==")),
        (2, lambda said: said["rows"][0].update(held=-1)),
        (3, lambda said: said["seats"][0].update(seat=-1)),
        (5, lambda said: said["rows"][0].update(end=0)),
        (5, lambda said: said["rows"][0].update(start=1)),
        (5, lambda said: said.update(bytes_per_second=0)),
        (7, lambda said: said["chunks"].clear()),
        (7, lambda said: said["chunks"][0]["id"].update(number=3)),
        (7, lambda said: said["chunks"][0]["path"].update(new_stage=1)),
        (7, lambda said: said.update(digest="00")),
        (8, lambda said: said["guests"][0].update(known=0)),
        (9, lambda said: said["guests"][0].update(tokens=0)),
        (9, lambda said: said["guests"][0].update(packed="AQ==")),
        (9, lambda said: said["guests"][0].update(packed=pack_tokens(range(5)))),
    ],
)
def test_what_contradicts_itself_is_not_read(number, change):
    with pytest.raises(MalformedFrame):
        traffic.read(changed(MESSAGES[number], change))
