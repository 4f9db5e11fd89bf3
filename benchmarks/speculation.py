"""Token trees beside Sequoia's search, and a table of lengths.

    python -m benchmarks.speculation --sequoia GIT_DIRECTORY

Read from a clone (bare or not) of github.com/Infini-AI-Lab/Sequoia, at HEAD: `acceptance-rate-vector.pt`, of which the
numbers are taken without loading the file's objects, and `demo-config.json` with times in milliseconds.  Its figures
for budgets of 64 and 128 nodes, and the CPU seconds of a port of its search to numpy, are those of an earlier
measurement on this benchmark's machine; its own script took 18 CPU seconds for 64 nodes there.

Sequoia counts the root as a level and charges a draft step for it; here levels are those below the root.  For the
choice of a size its charge is added to the verification, so both minimise the same.

`solve` is the search and its proof, `check` the proof worked out again in plain loops: CPU milliseconds, the best of
three.
"""

import argparse
import io
import json
import math
import struct
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from planner.speculation.lengths import best_table
from planner.speculation.trees import TreePlanned, best_size, best_tree
from specs.decisions.speculation.lengths import (
    PARTS,
    LengthQuestion,
    Load,
    ServiceClass,
    faults,
    geometric,
    tokens_per_second,
    tpot_ns,
)
from specs.decisions.speculation.trees import (
    Size,
    TreeQuestion,
    depths,
    expected_tokens,
    most_tokens,
    price_bound,
    tokens_ppm,
    tpot_bound,
    tree_faults,
)
from specs.units import NANOS_PER_SECOND

RUNS = 3
NANOS_PER_MS = 1_000_000
PUBLISHED = {64: (3.8523, 60), 128: (4.1921, 250)}  # nodes: tokens, milliseconds of the port
Found = TypeVar("Found")


def timed(action: Callable[[], Found]) -> tuple[str, Found]:
    """The least CPU milliseconds of some runs, and what the last one gave."""
    least = math.inf
    for _ in range(RUNS):
        began = time.process_time()
        result = action()
        least = min(least, time.process_time() - began)
    return f"{least * 1000:.1f}", result


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


def shown(clone: Path, name: str) -> bytes:
    return subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{name}"], capture_output=True, check=True).stdout


def acceptance(clone: Path) -> tuple[int, ...]:
    """Acceptance by rank in ppm, rounded down: 32-bit floats; as in its script, without the first and the last."""
    with zipfile.ZipFile(io.BytesIO(shown(clone, "acceptance-rate-vector.pt"))) as file:
        stored = file.read("acceptance-rate-vector/data/0")
    floats = struct.unpack(f"<{len(stored) // 4}f", stored)
    return tuple(int(rate * PARTS) for rate in floats[1:-1])


def show_trees(vector: tuple[int, ...], levels: int) -> None:
    print(f"\n### Expected accepted tokens, at most {levels} levels with the root's\n")
    row("nodes", "Sequoia", "ours", "bound", "by", "port, ms", "solve with bound, ms", "check, ms")
    row(*["---:"] * 4, "---", *["---:"] * 3)
    for nodes in (16, 32, 64, 128, 256, 512, 1024):
        published, port_ms = PUBLISHED.get(nodes, ("-", "-"))
        solve_ms, planned = timed(lambda nodes=nodes: best_tree(vector, nodes, levels - 1))
        check_ms, _ = timed(lambda nodes=nodes, planned=planned: checked(vector, nodes, levels - 1, planned))
        figures = (f"{planned.value / PARTS:.6f}", f"{planned.bound / PARTS:.6f}", planned.method)
        row(nodes, published, *figures, port_ms, solve_ms, check_ms)


def checked(vector: tuple[int, ...], nodes: int, depth: int, planned: TreePlanned) -> None:
    """What somebody who doubts the answer does."""
    assert not list(tree_faults(planned.tree, len(vector), nodes, depth))
    assert tokens_ppm(expected_tokens(vector, planned.tree)) == planned.value
    if planned.method == "dual":
        assert price_bound(vector, nodes, depth, planned.witness) == planned.bound
    else:
        assert tokens_ppm(most_tokens(vector, nodes, depth)[depth][nodes - 1]) == planned.bound


def show_size(vector: tuple[int, ...], config: dict[str, list[float]], levels: int) -> None:
    draft_ms = float(str(config["draft_time"]))
    sizes = tuple(
        Size(nodes=int(nodes), verify_ns=round((each + draft_ms) * NANOS_PER_MS))
        for nodes, each in zip(config["valid_budget"], config["target_time"], strict=True)
    )
    question = TreeQuestion(
        acceptance_ppm=vector, depth_max=levels - 1, draft_ns=round(draft_ms * NANOS_PER_MS), sizes=sizes
    )
    solve_ms, planned = timed(lambda: best_size(question))
    check_ms, bound = timed(lambda: tpot_bound(question))
    print("\n### Size by measured times, of its demonstration\n")
    row("nodes", "levels", "ms per token", "bound", "by", "solve with bound, ms", "check, ms")
    row(*["---:"] * 4, "---", *["---:"] * 2)
    each, least = (f"{found / NANOS_PER_MS:.6f}" for found in (planned.value, bound))
    row(planned.tree.nodes, max(depths(planned.tree)) + 1, each, least, planned.method, solve_ms, check_ms)


def show_lengths() -> None:
    """A made-up profile: a memory-bound target whose verification grows with all tokens beyond 256 in a pass."""
    batches, most = (1, 4, 16, 64, 256), 8
    question = LengthQuestion(
        length_max=most,
        classes=(
            ServiceClass(name="strict", tpot_ns_max=8 * NANOS_PER_MS, pause_ns_max=15 * NANOS_PER_MS),
            ServiceClass(name="loose", tpot_ns_max=50 * NANOS_PER_MS, pause_ns_max=200 * NANOS_PER_MS),
        ),
        loads=tuple(
            Load(
                batch_max=batch,
                draft_ns=NANOS_PER_MS + batch * 4_000,
                draft_overhead_ns=200_000,
                verify_ns=tuple(10 * NANOS_PER_MS + max(0, batch * (k + 1) - 256) * 60_000 for k in range(most + 1)),
            )
            for batch in batches
        ),
        acceptances=tuple(geometric(tenths * 100_000, most) for tenths in range(10)),
    )
    solve_ms, table = timed(lambda: best_table(question))
    check_ms, wrong = timed(lambda: list(faults(question, table)))
    assert not wrong
    count = len(table.rows)
    print(f"\n### Lengths: {count} rows in {solve_ms} ms, checked by exhaustion in {check_ms} ms; made-up profile\n")
    print("Length, and tokens per second over those without speculation; * where no length keeps the limits.\n")
    row("class", "batch", *(f"{bucket.ppm_min / PARTS:.1f}" for bucket in question.acceptances))
    row("---", *["---:"] * (1 + len(question.acceptances)))
    found = iter(table.rows)
    for service_class in question.classes:
        for load in question.loads:
            cells = []
            for bucket in question.acceptances:
                each = next(found)
                gain = tokens_per_second(load, bucket, each.length) / tokens_per_second(load, bucket, 0)
                assert each.met or tpot_ns(load, bucket, each.length) < NANOS_PER_SECOND
                cells.append(f"{each.length} x{gain:.2f}{'' if each.met else ' *'}")
            row(service_class.name, load.batch_max, *cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequoia", type=Path, help="a clone of github.com/Infini-AI-Lab/Sequoia")
    arguments = parser.parse_args()
    if arguments.sequoia is not None:
        config = json.loads(shown(arguments.sequoia, "demo-config.json"))
        vector = acceptance(arguments.sequoia)
        show_trees(vector, config["max_depth"])
        show_size(vector, config, config["max_depth"])
    show_lengths()


if __name__ == "__main__":
    main()
