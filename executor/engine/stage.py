"""One stage: the units [first unit, end unit) of an LLM, with the keys and values of its requests.

A stage runs the forward of `transformers` itself, so that whatever a family does between its layers is kept.  Layers
of other stages are replaced by modules that pass the hidden state through, at their index; the norm and the output
projection run only where the head belongs to the stage.
"""

import copy

import torch
from torch import nn

from executor.engine.attention import Packed
from executor.engine.batch import Batch
from executor.engine.errors import UnsupportedLlm
from executor.engine.kv_cache import SlotCache
from executor.engine.skeleton import Skeleton


class Stage:
    """Units [first_unit, end_unit) of the skeleton's LLM; the weights are attached to the skeleton, before or after.

    `slots` requests of at most `context_tokens` tokens each can be under way.  Raises UnsupportedLlm when the rotary
    embedding of so long a context would depend on the other requests of the batch.
    """

    def __init__(self, skeleton: Skeleton, *, first_unit: int, end_unit: int, slots: int, context_tokens: int) -> None:
        assert 0 <= first_unit < end_unit <= skeleton.layers + 2, (first_unit, end_unit)
        _check_rotary(skeleton, context_tokens)
        self.skeleton = skeleton
        self.first_unit = first_unit
        self.end_unit = end_unit
        self.has_embedding = first_unit == 0
        self.has_head = end_unit == skeleton.layers + 2
        layers = range(max(first_unit - 1, 0), min(end_unit - 1, skeleton.layers))
        self.cache = SlotCache(
            skeleton.config,
            layers=layers,
            slots=slots,
            context_tokens=context_tokens,
            dtype=skeleton.dtype,
            device=skeleton.device,
        )
        self.ends = [0] * slots  # of each slot: the position after the last that was written, or is being written
        self._llm, self._base = _cut(skeleton, layers, has_embedding=self.has_embedding, has_head=self.has_head)

    def missing(self) -> tuple[str, ...]:
        """Name the parameters that this stage still waits for."""
        return self.skeleton.missing(self.first_unit, self.end_unit)

    @torch.inference_mode()
    def run(self, batch: Batch, inputs: torch.Tensor) -> torch.Tensor:
        """Compute the batch's T tokens, after the pages of slots that are free now have been given back.

        `inputs` are token ids [T] where the embedding belongs to the stage, hidden states [T, width] elsewhere.  Gives
        hidden states [T, width]; with the head in the stage, logits [R, vocabulary] of the R rows that want them.
        Raises NoRoom when the rows need more pages than the budget has: the batcher was given another.
        """
        self._make_room(batch)
        if not batch.rows:
            width = self.skeleton.vocabulary_size if self.has_head else self.skeleton.hidden_size
            return torch.empty(0, width, dtype=self.skeleton.dtype, device=self.skeleton.device)
        inputs = inputs.to(self.skeleton.device).unsqueeze(0)
        packed = Packed(batch, self.cache, self.skeleton.dtype, None if self.has_embedding else inputs)
        arguments = {
            "input_ids" if self.has_embedding else "inputs_embeds": inputs,
            "position_ids": packed.positions.unsqueeze(0),
            "use_cache": False,
            "packed": packed,
        }
        if not self.has_head:
            hidden: torch.Tensor = self._base(**arguments).last_hidden_state
            return hidden[0]
        logits: torch.Tensor = self._llm(**arguments, logits_to_keep=_last_tokens(batch, self.skeleton.device)).logits
        return logits[0]

    def _make_room(self, batch: Batch) -> None:
        """Give back pages of slots that are free now, and take those that the rows need.  Raises NoRoom."""
        self.cache.release(batch.freed)
        for row in batch.rows:
            self.cache.commit(row.slot, row.end)
            self.ends[row.slot] = row.end


class _Absent(nn.Module):
    """Stands for a layer or norm of another stage."""

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Pass the hidden state through."""
        return hidden


class _Entry(nn.Module):
    """Stands for the first layer of a stage without the embedding: puts in the hidden state of the stage before.

    It does so here and not at the embedding's output, which some families scale before the first layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, _: torch.Tensor, *arguments: object, packed: Packed, **named: object) -> torch.Tensor:
        """Run the layer on the stage's input."""
        hidden: torch.Tensor = self.layer(packed.entry, *arguments, packed=packed, **named)
        return hidden


def _cut(skeleton: Skeleton, layers: range, *, has_embedding: bool, has_head: bool) -> tuple[nn.Module, nn.Module]:
    """Give the causal LM and its base LLM, sharing every module with the skeleton but those of other stages."""
    layout = skeleton.layout
    llm, base = _shadow(skeleton.llm), _shadow(skeleton.base)
    llm._modules[layout.base_prefix] = base  # noqa: SLF001  a shadow's own table
    absent = _Absent()
    whole = skeleton.base.get_submodule(layout.layers_name)
    kept = [layer if index in layers else absent for index, layer in enumerate(whole.children())]
    if not has_embedding:
        kept[0] = _Entry(kept[0])
    # A plain list is found before the table of modules, and slicing it costs nothing, unlike an nn.ModuleList.
    del base._modules[layout.layers_name]  # noqa: SLF001
    base.__dict__[layout.layers_name] = kept
    if not has_head:
        for name in layout.after:
            base._modules[name] = absent  # noqa: SLF001
    return llm, base


def _shadow(module: nn.Module) -> nn.Module:
    """Copy a module, its children shared, but not the table of them."""
    shadow = copy.copy(module)
    shadow.__dict__["_modules"] = dict(module._modules)  # noqa: SLF001  what the copy is for
    return shadow


def _last_tokens(batch: Batch, device: torch.device) -> torch.Tensor:
    """Indexes into the packed tokens of the last token of each row that wants logits."""
    last = []
    end = 0
    for row in batch.rows:
        end += row.tokens
        if row.wants_logits:
            last.append(end - 1)
    return torch.tensor(last, dtype=torch.long, device=device)


def _check_rotary(skeleton: Skeleton, context_tokens: int) -> None:
    """Refuse contexts at which the frequencies of all requests change with the longest of them."""
    parameters = getattr(skeleton.config, "rope_parameters", None) or {}
    per_layer_type = [entry for entry in parameters.values() if isinstance(entry, dict)] or [parameters]
    for entry in per_layer_type:
        limit = entry.get("original_max_position_embeddings") or skeleton.config.max_position_embeddings
        if entry.get("rope_type") in {"dynamic", "longrope"} and context_tokens > limit:
            raise UnsupportedLlm(
                f"rotary embedding `{entry['rope_type']}` changes with the length of the longest request: "
                f"a context of {context_tokens} tokens is more than the {limit} up to which it is fixed"
            )
