"""Change the layout of a running service again and again, live, and say what each change costs.

Two pipelines of two GPUs become four, a node is drained, all becomes one pipeline, which then has
to leave a GPU; at last borders of stages move on GPUs that are full of KV.

python -m examples.reconfiguring OUT
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import attrs
from rich.console import Console

from examples.clusters.problems import LLAMA_70B, example, make_llm
from planner.cli.diff_tables import tables
from planner.cli.documents import write_document
from planner.outcome import Planned
from planner.reconfiguring.arrived import arrived
from planner.reconfiguring.beginning import Begun, begin
from planner.reconfiguring.differences import difference
from planner.reconfiguring.picture import draw
from planner.search import Search
from planner.solve import solve
from specs import codec
from specs.cluster import PlaceId
from specs.problem import Holding, Problem
from specs.units import Nanos
from specs.wishes import Objective, Service
from specs.workload import Slo

REQUESTS, CONTEXT_TOKENS = 4, 700  # of each pipeline, whenever a state is taken
PAUSE_NS_MAX = Nanos(60_000_000)  # iterations of two stages take 40 ms: those under way end before the last KV goes


@attrs.frozen(kw_only=True)
class Wish:
    """Devices on which the LLM is to be served, and how."""

    says: str
    places: tuple[str, ...]
    objective: Objective = Objective.GOODPUT
    depth: int = 2
    live: int = 8  # requests at once that each pipeline is to have slots for


WISHES = (
    Wish(says="two pipelines of two GPUs", places=("hgx0/gpu[0-3]",)),
    Wish(says="four pipelines: a node more", places=("hgx0/gpu[0-3]", "hgx1/gpu[0-3]")),
    Wish(says="hgx0 is drained, hgx2 comes in its place", places=("hgx1/gpu[0-3]", "hgx2/gpu[0-3]")),
    Wish(says="all becomes one pipeline", places=("hgx2/gpu[4-5]",), objective=Objective.DEVICES),
    Wish(says="two others of three GPUs", places=("hgx2/gpu[5-7]",), depth=3),
    Wish(says="full devices: three GPUs with as many slots as fit", places=("hgx2/gpu[5-7]",), depth=3, live=128),
    Wish(says="borders move on full devices: a fourth GPU", places=("hgx2/gpu[4-7]",), depth=4, live=128),
)


def wished(wish: Wish) -> Problem:
    """The problem of a wish: an SSD of each node holds the LLM."""
    base = example("hgx-h100", 4)
    llm = make_llm(LLAMA_70B)
    workload = attrs.evolve(base.workloads[0], llm=llm.id, requests_per_hour=1200, live_requests_max=wish.live)
    slo = Slo(llm=llm.id, percentile=90, ttft_ns_max=Nanos(10**10), tpot_ns_max=Nanos(10**9), pause_ns_max=PAUSE_NS_MAX)
    places = tuple(PlaceId(place) for pattern in wish.places for place in _spelled_out(pattern))
    service = Service(llm=llm.id, places=places, objective=wish.objective, depth_max=wish.depth)
    return attrs.evolve(
        base,
        name="reconfiguring",
        llms=(llm,),
        workloads=(workload,),
        holdings=tuple(Holding(llm=llm.id, place=PlaceId(f"{node.id}/ssd")) for node in base.cluster.nodes),
        slos=(slo,),
        targets=(),
        services=(service,),
    )


def _spelled_out(pattern: str) -> Iterator[str]:
    head, _, rest = pattern.partition("[")
    first, _, last = rest.rstrip("]").partition("-")
    return (f"{head}{number}" for number in range(int(first), int(last) + 1))


def main() -> None:
    """Carry each change out on paper; write states, documents and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory for states, documents and pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, width=140)
    state = None
    for number, wish in enumerate(WISHES):
        begun = wished(wish) if state is None else begin(state, wished(wish))
        if isinstance(begun, Problem):
            outcome = solve(begun, search=Search())
        else:
            assert isinstance(begun, Begun), begun
            outcome = solve(begun.problem, begun.request, Search())
        console.rule(wish.says, align="left")
        if not isinstance(outcome, Planned):
            console.print(outcome)
            continue
        found = difference(outcome.verified)
        for table in tables(found):
            console.print(table)
        console.print(f"all is done after {found.lasts_ns / 1e9:.3f} s")
        write_document(out / f"{number}-document.json", outcome.verified)
        (out / f"{number}.svg").write_text(draw(outcome.verified, found), encoding="utf-8")
        state = arrived(outcome.verified, REQUESTS, CONTEXT_TOKENS)
        (out / f"{number}-state.json").write_bytes(codec.encode(state))


if __name__ == "__main__":
    main()
