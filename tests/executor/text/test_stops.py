"""Stop strings: exact, and the same however the text is split."""

from hypothesis import example, given
from hypothesis import strategies as st

from executor.text.stops import StopScanner

few_letters = st.text("ab", max_size=30)
stop_strings = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


def cut(text: str, stops: list[str]) -> str:
    """The plain definition: the shortest prefix that ends with a stop, without the longest stop it ends with."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


@given(st.lists(few_letters, max_size=10), stop_strings)
@example(["aa", "ab"], ["aab", "b"])
def test_the_cut_is_the_plain_definition_however_split(pieces, stops):
    scanner = StopScanner(stops)
    given_out = ""
    for piece in pieces:
        given_out += scanner.push(piece)
        # Nothing that is shown is taken back.
        assert cut("".join(pieces), stops).startswith(given_out)
        if scanner.stopped:
            break
    else:
        given_out += scanner.finish()
    assert given_out == cut("".join(pieces), stops)
    assert scanner.stopped == any(stop in "".join(pieces) for stop in stops)


def test_a_stop_over_two_pieces_is_held_back():
    scanner = StopScanner(["END"])
    assert scanner.push("textE") == "text"
    assert scanner.push("N") == ""
    assert scanner.push("x") == "ENx"
    assert scanner.push("EN") == ""
    assert scanner.push("D more") == ""
    assert scanner.stopped


def test_without_stops_nothing_is_held_back():
    scanner = StopScanner([])
    assert scanner.push("anything") == "anything"
    assert scanner.finish() == ""


def test_what_was_held_back_comes_at_the_end():
    scanner = StopScanner(["END"])
    assert scanner.push("EN") == ""
    assert scanner.finish() == "EN"
