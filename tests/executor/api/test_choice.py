"""The pieces of a choice joined are the whole text cut at the stop, whatever the tokens and stops."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.api.choice import ChoiceWriter
from executor.api.forms import joined
from executor.api.serving import Reason, TokenEvent
from tests.executor.text import tokenizers_under_test as under_test
from tests.executor.text.test_stops import cut


@pytest.fixture(scope="module", params=[under_test.byte_level, under_test.llama2], ids=lambda make: make.__name__)
def tokenizer(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("tokenizer"))


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_pieces_are_the_whole_text_before_the_stop(tokenizer, data):
    tokens = data.draw(st.lists(st.integers(0, 270), max_size=30))
    whole = tokenizer.decode(tokens)
    # Stops that are in the text, as well as ones that nearly are.
    places = st.tuples(st.integers(0, max(len(whole) - 1, 0)), st.integers(1, 4))
    found = [whole[start : start + length] for start, length in data.draw(st.lists(places, max_size=2))]
    stops = [
        stop for stop in [*found, *data.draw(st.lists(st.text("ab t", min_size=1, max_size=3), max_size=2))] if stop
    ]
    writer = ChoiceWriter(tokenizer, stops, with_tokens=True)
    pieces = []
    for token in tokens:
        pieces.append(writer.push(TokenEvent(token, -1.0, ())))
        if pieces[-1].reason is not None:
            break
    else:
        pieces.append(writer.finish(Reason.LENGTH))
    choice = joined(pieces)
    assert choice.text == cut(whole, stops)
    assert choice.reason is (Reason.STOP if any(stop in whole for stop in stops) else Reason.LENGTH)
    written = [each.event.token for each in choice.tokens]
    assert written == tokens[: len(written)]
    assert all(each.offset <= len(choice.text) for each in choice.tokens)
    if choice.reason is Reason.LENGTH:
        assert written == tokens
