"""Names with ranges, as people write hosts: gpu[0-7] stands for gpu0 to gpu7, r[1-2]n[01-16] for 32 names."""

import itertools
import re

from planner.errors import BadQuantity

_NAMES_MAX = 100_000
_RANGE = re.compile(r"\[([0-9]{1,9})-([0-9]{1,9})\]")
_BRACKETS = re.compile(r"[\[\]]")


def expand(text: str) -> tuple[str, ...]:
    """List the names that a text with ranges stands for, in order; leading zeros give the width.

    Raises BadQuantity for a range that is empty, unreadable, or has more than 100,000 names.
    """
    literals = _RANGE.split(text)[::3]
    ranges = []
    for low, high in _RANGE.findall(text):
        if int(low) > int(high):
            raise BadQuantity(f"{text!r:.80}: the range [{low}-{high}] is empty; write [{high}-{low}]")
        if int(high) - int(low) >= _NAMES_MAX:
            raise BadQuantity(f"{text!r:.80}: the range [{low}-{high}] has more than {_NAMES_MAX} names")
        width = len(low) if low.startswith("0") else 0
        ranges.append([f"{number:0{width}}" for number in range(int(low), int(high) + 1)])
    if any(_BRACKETS.search(literal) for literal in literals):
        raise BadQuantity(f"{text!r:.80}: a range is two whole numbers in brackets, for example gpu[0-7]")
    count = 1
    for each in ranges:
        count *= len(each)
    if count > _NAMES_MAX:
        raise BadQuantity(f"{text!r:.80} stands for {count} names; at most {_NAMES_MAX} are read")
    return tuple(
        "".join(itertools.chain.from_iterable(zip(literals, (*choice, ""), strict=True)))
        for choice in itertools.product(*ranges)
    )
