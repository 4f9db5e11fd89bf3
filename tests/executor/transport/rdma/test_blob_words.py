"""What the ends of a blob say while it is written: read back as it was said, and nothing else is read."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import MalformedFrame
from executor.transport import framing
from executor.transport.framing import Hello, Offer, Writing
from executor.transport.rdma.blob_words import (
    RECEIVERS_WORD,
    ReceiverSays,
    ReceiversWord,
    SenderSays,
    decode_receivers_word,
    decode_senders_word,
    encode_receivers_word,
    encode_senders_word,
)
from executor.transport.rdma.verbs import Contact

GID = "0000:0000:0000:0000:0000:ffff:0a4d:0001"
CONTACT = Contact(queue_pair=17, psn=3, gid=GID, mtu_bytes=4096)
OFFER = Offer(transfer_id="1:7", size_bytes=1000, writing=Writing(contact=CONTACT, span_bytes=64))
HELLO = Hello(sender="a", receiver="b", realm="r", offer=OFFER)
WORDS = st.builds(
    ReceiversWord,
    says=st.sampled_from(ReceiverSays),
    span=st.integers(0, 2**32 - 1),
    address=st.integers(0, 2**64 - 1),
    key=st.integers(0, 2**32 - 1),
)


@given(WORDS)
def test_a_receivers_word_is_read_back(word):
    assert decode_receivers_word(encode_receivers_word(word)) == word


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_no_other_word_is_known(kind):
    with pytest.raises(MalformedFrame, match=f"a receiver's word of kind {kind}, wanted 1, 2 or 3"):
        decode_receivers_word(bytes([kind]) + bytes(RECEIVERS_WORD.size - 1))
    with pytest.raises(MalformedFrame, match="a sender's word of kind"):
        decode_senders_word(bytes([kind]))


@pytest.mark.parametrize("says", SenderSays)
def test_a_senders_word_is_read_back(says):
    assert decode_senders_word(encode_senders_word(says)) is says


def body_of(hello):
    return framing.encode_hello(hello)[framing.HELLO_HEAD.size :]


def test_an_offer_to_write_is_read_back():
    assert framing.decode_hello_body(body_of(HELLO)) == HELLO


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"span_bytes": 0}, "a span of 0 bytes, wanted an integer from 1 to 1048576"),
        ({"span_bytes": 2**40}, "a span of 1099511627776 bytes"),
        ({"contact": attrs.evolve(CONTACT, queue_pair=2**24)}, "contact: queue_pair 16777216"),
        ({"contact": attrs.evolve(CONTACT, gid="here")}, "contact: gid 'here'"),
    ],
)
def test_an_offer_to_write_that_makes_no_sense_is_refused(changes, sentence):
    offer = attrs.evolve(OFFER, writing=attrs.evolve(OFFER.writing, **changes))
    with pytest.raises(MalformedFrame, match=sentence):
        framing.decode_hello_body(body_of(attrs.evolve(HELLO, offer=offer)))


def test_a_span_without_a_contact_is_refused():
    with pytest.raises(MalformedFrame, match=r"hello: keys .*, wanted from, realm, to; or contact, from"):
        framing.decode_hello_body(body_of(HELLO).replace(b'"span"', b'"spin"'))
