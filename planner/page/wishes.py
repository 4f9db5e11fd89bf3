"""What was promised and what waits, on a page: predictions beside SLOs, copies that stand by, lengths of drafts."""

from html import escape

from planner.cli.plan_tables import seconds
from planner.page.markup import table
from specs import queueing
from specs.decisions.latency.prediction import Prediction
from specs.drafting import Speculation
from specs.invariants.facts import Facts
from specs.invariants.standing_by import start_ns
from specs.timing import route_ends
from specs.ways import NoWay

PIPELINES_MAX = 160  # open at the end; predictions look at pairs of pipelines


def wishes(facts: Facts) -> str:
    """Every section that the plan has something for; nothing where it has nothing."""
    return "".join((_promises(facts), _residents(facts), *(_lengths(each) for each in facts.plan.speculations)))


def _section(name: str, title: str, body: str) -> str:
    return f'<section aria-labelledby="{name}-title"><h2 id="{name}-title">{escape(title)}</h2>{body}</section>'


def _promises(facts: Facts) -> str:
    """TTFT and TPOT of each LLM with an SLO, as rule SLO predicts them over the pipelines open at the end."""
    rows = []
    for slo in facts.problem.slos:
        mine = [pipeline for pipeline in facts.open_at_end if pipeline.llm == slo.llm]
        if not mine or len(facts.open_at_end) > PIPELINES_MAX:
            continue
        try:
            found = queueing.predict(facts.problem, facts.plan, slo.llm)
        except NoWay:
            continue
        for name, of, allowed in (("TTFT", "ttft_ns", slo.ttft_ns_max), ("TPOT", "tpot_ns", slo.tpot_ns_max)):
            if isinstance(found, Prediction):
                predicted = getattr(found, of)
                share = f"{predicted / allowed:.0%}"
                rows.append((slo.llm, f"{name}, p{slo.percentile}", seconds(predicted), seconds(allowed), share))
    if not rows:
        return ""
    head = ("LLM", "what", "predicted", "promised", "of the promise")
    caption = "Predicted for the requests that the workload says, shared by the pipelines that stay open"
    return _section("promises", "Promises", table(caption, head, rows, frozenset({2, 3, 4})))


def _residents(facts: Facts) -> str:
    rows = []
    for each in facts.plan.residents:
        into = each.place if each.route is None else route_ends(facts.links, facts.plan.routes[each.route])[1]
        limit = next(standby.start_ns_max for standby in facts.problem.standbys if standby.llm == each.llm)
        rows.append((each.llm, each.place, into, seconds(start_ns(facts, each)), seconds(limit)))
    if not rows:
        return ""
    head = ("LLM", "rests in", "starts in", "after", "promised")
    caption = "Copies that nobody serves yet: how soon each can start, by itself"
    return _section("standing", "Standing by", table(caption, head, rows, frozenset({3, 4})))


def _lengths(each: Speculation) -> str:
    """Tokens to draft, more in a stronger colour: a row for each load, a column for each acceptance."""
    rows = each.table.rows
    acceptances = sorted({row.acceptance_ppm_min for row in rows})
    loads = sorted({row.batch_max for row in rows})
    lengths = {(row.batch_max, row.acceptance_ppm_min): row for row in rows}
    most = max(1, *(row.length for row in rows))
    head = "".join(f'<th scope="col">{ppm / 10_000:g} %</th>' for ppm in acceptances)
    body = ""
    for load in loads:
        cells = ""
        for ppm in acceptances:
            row = lengths.get((load, ppm))
            if row is None:
                cells += "<td></td>"
                continue
            mark = "" if row.met else '<abbr title="no length keeps the promise; this is the quickest">*</abbr>'
            cells += f'<td style="--part:{100 * row.length // most}%">{row.length}{mark}</td>'
        body += f'<tr><th scope="row">to {load}</th>{cells}</tr>'
    caption = "Tokens to draft, by requests in a batch (down) and part of the drafts that is accepted (across)"
    grid = (
        f'<div class="scroll"><table class="lengths"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">batch</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return _section(f"lengths-{each.llm}", f"Drafting for {each.llm}", grid)
