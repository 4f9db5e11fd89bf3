"""Reads the linear programs that Helix publishes: machines, rates by layers held, and links."""

import re

from specs.decisions.layout.spans import ENTRY, EXIT, Link, Machine, Question

MILLI = 1000


def rows_of(text: str) -> dict[str, str]:
    """Each constraint by its name, on one line."""
    body = re.sub(r"\n {2,}", " ", text[text.index("Subject To") :])
    return dict(re.findall(r"^ (\w+): (.*)$", body, re.MULTILINE))


def question_of(text: str) -> Question:
    """Read a published `ilp_model.lp`; rates and capacities are rounded down to millitokens."""
    rows = rows_of(text)
    ends = {"source": ENTRY, "sink": EXIT}
    machines, links, layers = [], [], 0
    for name, row in rows.items():
        if found := re.fullmatch(r"node_throughput_constraint_(\d+)", name):
            rates = {int(k): float(rate) for rate, k in re.findall(r"- ([\d.e+]+) hold_\d+_(\d+)", row)}
            millis = tuple(int(rates[k] * MILLI) for k in range(1, len(rates) + 1))
            machines.append(Machine(name=found[1], millitokens_per_second=millis))
        elif found := re.fullmatch(r"edge_flow_constr_(\w+?)_(\w+)", name):
            capacity = re.search(r"- ([\d.e+]+) switch", row)
            assert capacity is not None
            source, destination = (ends.get(end, end) for end in (found[1], found[2]))
            amount = int(float(capacity[1]) * MILLI)
            links.append(Link(source=source, destination=destination, millitokens_per_second=amount))
        elif name.startswith("end_constraint_"):
            layers = int(row.rsplit("<=", 1)[1])
    return Question(layers=layers, machines=tuple(machines), links=tuple(links))
