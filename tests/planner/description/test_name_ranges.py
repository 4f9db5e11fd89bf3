import pytest

from planner.description.name_ranges import expand
from planner.description.wording import say_names
from planner.errors import BadQuantity


def test_names():
    assert expand("gpu") == ("gpu",)
    assert expand("gpu[0-2]") == ("gpu0", "gpu1", "gpu2")
    assert expand("r[1-2]n[09-10]x") == ("r1n09x", "r1n10x", "r2n09x", "r2n10x")
    assert len(expand("n[0-9999]")) == 10_000


@pytest.mark.parametrize(
    "text", ["n[2-1]", "n[1-2", "n1-2]", "n[a-b]", "n[1-]", "n[0-999999999]", "[0-999][0-999]", "[]"]
)
def test_a_wrong_range_is_refused(text):
    with pytest.raises(BadQuantity):
        expand(text)


@pytest.mark.parametrize(
    "text", ["n", "gpu[0-7]", "l4-[01-12]", "a[2-4]/gpu[0-3]", "node[1-4]/cpu0", "rail[0-7]", "a1/gpu[0-3]"]
)
def test_saying_names_is_the_reverse(text):
    assert say_names(expand(text)) == text


def test_names_that_do_not_follow_are_listed():
    assert say_names(["a1", "a3", "b4"]) == "a1, a3, b4"
    assert say_names(["x0/gpu0", "x0/gpu1", "x1/gpu0", "x1/gpu1", "x1/gpu2"]) == "x0/gpu[0-1], x1/gpu[0-2]"
