"""The table of all rules, in the order in which a report lists them."""

from specs.invariants.claims import claims_are_true
from specs.invariants.demand import services_keep_up
from specs.invariants.handing_over import copies_converge
from specs.invariants.memory import copies_remain, memories_suffice
from specs.invariants.movement import links_carry, ports_take_turns, sources_hold, targets_are_filled
from specs.invariants.policies import tables_are_the_best
from specs.invariants.promises import promises_are_kept
from specs.invariants.reference import names_exist, problem_is_the_same
from specs.invariants.resizing import sizes_change_in_order
from specs.invariants.rule import Invariant
from specs.invariants.serving import blobs_come_first, requests_find_a_pipeline, units_are_computed_once
from specs.invariants.standing_by import standbys_start_in_time
from specs.invariants.undo import every_prefix_serves

# Without these two the others would look up names that do not exist.
GROUNDS = (
    Invariant("REF", "Every name, index and size in the plan agrees with its problem, once.", names_exist),
    Invariant("FOR", "The plan is for exactly this problem, named by its digest.", problem_is_the_same),
)

INVARIANTS = (
    *GROUNDS,
    Invariant("CAUSE", "A transfer starts only after its source holds the blob.", sources_hold),
    Invariant("PORT", "On each port transfers run one at a time, in the plan's order.", ports_take_turns),
    Invariant(
        "LINK",
        "At every instant the rates on each link sum to at most its capacity, and no transfer is faster than its rate.",
        links_carry,
    ),
    Invariant(
        "MEM",
        "At every instant, and at every step of the order, blobs resident or reserved, KV of the slots in force and "
        "workspace fit in each memory; no stage declares less than it needs.",
        memories_suffice,
    ),
    Invariant(
        "FULL",
        "Targets and residents end with every blob of their LLM; no place receives a blob twice or one that it holds.",
        targets_are_filled,
    ),
    Invariant("LAYER", "Every unit of a pipeline is computed exactly once, in order.", units_are_computed_once),
    Invariant(
        "EARLY",
        "A pipeline opens only when its stages' blobs have arrived and are still there; one that runs has them at the "
        "start.",
        blobs_come_first,
    ),
    Invariant(
        "SERVE",
        "Every pipeline runs at the start or opens once, and has one weight; requests go to open pipelines of their "
        "LLM only; every target ends with an open pipeline of its own, every service with pipelines on devices of "
        "their own.",
        requests_find_a_pipeline,
    ),
    Invariant(
        "SIZE",
        "A pipeline's slots change while it is open, in the order of time, and not while it closes, hands over or "
        "takes over.",
        sizes_change_in_order,
    ),
    Invariant(
        "UNDO",
        "After every prefix of the steps, in their order, every LLM that was served has an open pipeline with all its "
        "blobs resident.",
        every_prefix_serves,
    ),
    Invariant(
        "KV",
        "KV is copied on one path for each pair of stages on different devices that share layers; slots and contexts "
        "fit, rounds converge, and they and the pause take the time that is said.",
        copies_converge,
    ),
    Invariant(
        "LAST",
        "No release removes what its place does not hold, what is still needed there, or the last copy in the cluster.",
        copies_remain,
    ),
    Invariant(
        "DEMAND",
        "In a steady state each pipeline of a service has room, keeps the TPOT and computes its share of the requests.",
        services_keep_up,
    ),
    Invariant(
        "START",
        "Every LLM on standby has a resident copy from which it starts within its time, on a place that may keep it.",
        standbys_start_in_time,
    ),
    Invariant(
        "SPEC",
        "Every speculation table covers every load and acceptance; each entry meets the SLO if any length does, "
        "and no length is better.",
        tables_are_the_best,
    ),
    Invariant("SLO", "Predicted TTFT and TPOT at the stated percentile are within each SLO.", promises_are_kept),
    Invariant("BOUND", "Every claim of optimality is derived again from the problem and the plan.", claims_are_true),
)
