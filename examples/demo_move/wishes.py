"""The ten wishes: each is the description again, with another service on other devices."""

from pathlib import Path

import attrs
from ruamel.yaml import YAML

_SMALL = {"compute": "4 Gflop/s", "memory": "2.4 GB/s", "overhead": "750 us"}  # measured anew: slower than was thought


@attrs.frozen(kw_only=True)
class Wish:
    """What an operator wants next."""

    name: str  # also of its file
    says: str
    on: tuple[str, ...]  # nodes, or ranges of them, that may serve
    pause: str = "60 ms"  # that a request may be held up, beyond an iteration


WISHES = (
    Wish(name="borders", says="Small is slower than was thought", on=("large1", "middle1", "small[1-3]")),
    Wish(name="add", says="large2 is added", on=("large[1-2]", "middle1", "small[1-3]")),
    Wish(name="drain", says="small3 is drained", on=("large[1-2]", "middle1", "small[1-2]")),
    Wish(name="replace", says="small3 comes back, in place of large1", on=("large2", "middle1", "small[1-3]")),
    Wish(name="split", says="without middle1, its layers are split", on=("large2", "small[1-3]")),
    Wish(name="merge", says="the large ones alone: stages are merged", on=("large[1-2]",)),
    Wish(name="four", says="all serve: two pipelines to four", on=("large[1-2]", "middle1", "small[1-3]")),
    Wish(name="one", says="four pipelines to one, computed again", on=("large1",), pause="5 s"),
    Wish(name="two", says="two of the small ones are added", on=("large1", "small[1-2]")),
    Wish(name="three", says="all but large2, as at first", on=("large1", "middle1", "small[1-3]")),
)


def write(description: Path, wish: Wish, path: Path) -> None:
    """Write the description of a wish; paths in it are relative to its own directory."""
    yaml = YAML()
    yaml.width = 200
    text = yaml.load(description)
    ((_, entry),) = text["llms"].items()
    entry["checkpoint"] = str(Path(description.parent, entry["checkpoint"]).resolve())
    entry["serve"]["on"] = list(wish.on)
    entry["slo"]["pause"] = wish.pause
    for row in text["profile"]:
        if row["device"] == "Small":
            row.update(_SMALL)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(text, file)
