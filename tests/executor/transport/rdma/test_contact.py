"""What is written of a contact can be read, through JSON, and nothing else can."""

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import MalformedFrame
from executor.transport.rdma.contact import MTUS_BYTES, Contact, decode_contact, encode_contact

contacts = st.builds(
    Contact,
    queue_pair=st.integers(0, 2**24 - 1),
    psn=st.integers(0, 2**24 - 1),
    gid=st.ip_addresses(v=6).map(lambda address: address.exploded),
    mtu_bytes=st.sampled_from(MTUS_BYTES),
    lid=st.integers(0, 2**16 - 1),
)
GOOD = {"queue_pair": 17, "psn": 5, "gid": ipaddress.IPv6Address("fe80::1").exploded, "mtu_bytes": 4096, "lid": 0}


@given(contacts)
def test_a_contact_is_read_as_it_was_written(contact: Contact) -> None:
    assert decode_contact(json.loads(json.dumps(encode_contact(contact)))) == contact


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "contact",
        {},
        GOOD | {"extra": 1},
        {key: value for key, value in GOOD.items() if key != "lid"},
        GOOD | {"queue_pair": -1},
        GOOD | {"queue_pair": 2**24},
        GOOD | {"queue_pair": 17.0},
        GOOD | {"psn": True},
        GOOD | {"psn": "5"},
        GOOD | {"lid": 2**16},
        GOOD | {"mtu_bytes": 9000},
        GOOD | {"mtu_bytes": [4096]},
        GOOD | {"gid": None},
        GOOD | {"gid": ""},
        GOOD | {"gid": "fe80::1"},
        GOOD | {"gid": GOOD["gid"].upper()},
        GOOD | {"gid": GOOD["gid"] + "%eth0"},
        GOOD | {"gid": "10.0.0.1"},
    ],
)
def test_what_is_no_contact_is_refused(document: object) -> None:
    with pytest.raises(MalformedFrame, match="contact: "):
        decode_contact(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), json_values).map(lambda changed: GOOD | changed))
def test_whatever_is_read_would_be_written_so(document: dict[str, object]) -> None:
    try:
        contact = decode_contact(document)
    except MalformedFrame:
        return
    assert encode_contact(contact) == document
