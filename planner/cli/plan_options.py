"""The options of `holdfast plan`, as types."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from specs.plan import Aim

Description = Annotated[Path, Argument(metavar="FILE", help="The description, a YAML file.")]
Out = Annotated[Path | None, Option(metavar="PLAN.json", help="Write the plan here.")]
Document = Annotated[
    Path | None, Option(metavar="DOCUMENT.json", help="Write the plan with its problem here: what daemons take.")
]
Blocks = Annotated[
    int | None,
    Option(min=1, max=4096, help="Blocks per LLM; otherwise those of the plan before, or chosen for the least time."),
]
After = Annotated[
    Path | None, Option(metavar="PLAN.json", help="The plan that this one follows, its parent; or a document with it.")
]
Journal = Annotated[
    list[Path] | None,
    Option(
        metavar="PATH",
        help="Repair: a journal of the run of the plan before, or a directory with journals; may be repeated.",
    ),
]
From = Annotated[
    Path | None,
    Option("--from", metavar="STATE.json", help="Begin from a running cluster, live: what `holdfast state` wrote."),
]
Stop = Annotated[
    list[str] | None,
    Option(metavar="PIPELINE", help="With --from: this pipeline closes at once, whatever becomes of it; repeatable."),
]
FixedSlots = Annotated[
    bool,
    Option(
        "--fixed-slots",
        help="Where pipelines run, their KV makes no room: for devices that cannot give its memory back.",
    ),
]
Lost = Annotated[
    list[str] | None,
    Option(metavar="NODE", help="This node is gone, as are those that journals count as lost; repeatable."),
]
Back = Annotated[
    list[str] | None,
    Option(metavar="NODE", help="This node has come back with what the description says it holds; repeatable."),
]
For = Annotated[
    Aim,
    Option(
        "--for",
        help="What of the load comes first: completion, the first cover, or the tokens that are served meanwhile.",
    ),
]
Within = Annotated[str | None, Option(metavar="DURATION", help="Give the best plan found in this time, such as 2s.")]
Reproducible = Annotated[
    bool, Option("--reproducible", help="Count limits in steps, never by the clock: the same plan every time.")
]
Generation = Annotated[
    int | None,
    Option(min=1, help="The plan's generation: above those of all plans before, as nodes say that refuse a lower one."),
]
Steps = Annotated[int | None, Option(min=1, help="The limit in steps of searches; implies --reproducible.")]
Seed = Annotated[int, Option(min=0, max=2**31 - 1, help="Another seed tries other plans.")]
Explain = Annotated[
    bool,
    Option("--explain", help="Say what binds each decision, the runner-up, and what more would buy."),
]
AsJson = Annotated[bool, Option("--json", help="Print the summary as JSON instead of tables.")]
