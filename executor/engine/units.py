"""How a causal LM of `transformers` falls into units: embedding, layers, head.

The LLM's own configuration says it in `base_model_pp_plan`: the children of the base LLM in the order in which they are
computed, one of them the list of layers.  What stands before the layers is unit 0, layer i is unit i + 1, and what
stands after them, with the output projection, is the last unit.
"""

import attrs
import transformers
from torch import nn

from executor.engine.errors import UnsupportedLlm


@attrs.frozen(kw_only=True)
class Layout:
    """Names of the parts of a causal LM, as attributes of its base LLM."""

    base_prefix: str  # attribute of the causal LM that holds the base LLM, for example `model`
    before: tuple[str, ...]  # children of the base LLM that make unit 0
    layers_name: str  # the child that is the list of layers
    layers: tuple[str, ...]  # names of the layers in that list
    after: tuple[str, ...]  # children of the base LLM that belong to the head

    def unit_of(self, parameter_name: str) -> int:
        """Tell to which unit a parameter of the causal LM belongs; raises KeyError for a name that is none."""
        head = len(self.layers) + 1
        prefix, _, rest = parameter_name.partition(".")
        if prefix != self.base_prefix:
            return head
        child, _, rest = rest.partition(".")
        if child == self.layers_name:
            return int(rest.partition(".")[0]) + 1
        if child in self.before:
            return 0
        if child in self.after:
            return head
        raise KeyError(parameter_name)


def layout_of(llm: transformers.PreTrainedModel) -> Layout:
    """Read the layout of a causal LM from its configuration.

    Raises UnsupportedLlm where the configuration has no plan, or the plan leaves parameters out.
    """
    architecture = type(llm).__name__
    plan = getattr(llm.config, "base_model_pp_plan", None)
    if not plan:
        raise UnsupportedLlm(
            f"{architecture} cannot be cut into stages: its configuration class has no base_model_pp_plan"
        )
    base = llm.base_model
    children = dict(base.named_children())
    lists = [name for name in plan if isinstance(children.get(name), nn.ModuleList)]
    if len(lists) != 1:
        raise UnsupportedLlm(
            f"{architecture} cannot be cut into stages: its base_model_pp_plan has no single layer list"
        )
    names = list(plan)
    split = names.index(lists[0])
    layout = Layout(
        base_prefix=llm.base_model_prefix,
        before=tuple(names[:split]),
        layers_name=lists[0],
        layers=tuple(name for name, _ in children[lists[0]].named_children()),
        after=tuple(names[split + 1 :]),
    )
    stray = sorted(
        name for name, child in children.items() if name not in plan and any(True for _ in child.parameters())
    )
    if stray:
        raise UnsupportedLlm(f"{architecture} cannot be cut into stages: its base_model_pp_plan leaves out {stray}")
    return layout
