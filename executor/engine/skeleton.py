"""An LLM without weights, to which tensors are attached as views while they arrive.

A skeleton is the `transformers` causal LM of a configuration with every parameter on the meta device.  Buffers that no
checkpoint holds (rotary frequencies, the scale of Gemma's embedding) are real from the start.  Attaching a tensor
copies nothing: the parameter becomes a view into the memory of the blob that the tensor came in.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import conversion_mapping, core_model_loading

from executor.engine import attention, linear, units
from executor.engine.errors import UnsupportedLlm, WrongTensor


class Skeleton:
    """The modules of one LLM on one device, shared by every stage of it on this node.

    `checkpoint_dir` holds config.json and, where the LLM has one, generation_config.json; weights are never read.
    Raises UnsupportedLlm for a configuration that the engine cannot cut into stages.
    """

    def __init__(self, checkpoint_dir: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self.config = _config(checkpoint_dir)
        self.llm = _without_weights(self.config, dtype, device)
        self.base: nn.Module = self.llm.base_model
        self.layout = units.layout_of(self.llm)
        self.end_tokens = _end_tokens(checkpoint_dir, self.config)
        self._parameters = self.llm.state_dict(keep_vars=True)
        self._missing = set(self._parameters)
        self._aliases: dict[str, str] = dict(self.llm.all_tied_weights_keys)
        self._following: set[str] = set()  # tied weights that are their source's view
        transforms = conversion_mapping.get_model_conversion_mapping(self.llm)
        self._renamings = [entry for entry in transforms if isinstance(entry, core_model_loading.WeightRenaming)]
        self._converters = [entry for entry in transforms if isinstance(entry, core_model_loading.WeightConverter)]

    @property
    def layers(self) -> int:
        """How many layers stand between the embedding and the head."""
        return len(self.layout.layers)

    @property
    def vocabulary_size(self) -> int:
        """Width of the logits."""
        return int(self.config.vocab_size)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states that pass between stages."""
        return int(self.config.hidden_size)

    def units_of(self, tensor_name: str) -> tuple[int, ...]:
        """Tell which units need the checkpoint's tensor of this name; a tied embedding is needed by two."""
        name = self._module_name(tensor_name)
        tied = tuple(alias for alias, source in self._aliases.items() if source == name)
        return tuple(sorted({self.layout.unit_of(each) for each in (name, *tied)}))

    def attach(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Make each tensor, named as in the checkpoint, a weight of the LLM: a view, never a copy.

        A tensor under the name of a tied weight takes its place; otherwise the tied weight is its source's view.
        Raises WrongTensor for an unknown name, another shape, dtype or device; then nothing has been attached.
        """
        named = {self._module_name(name): self._checked(name, tensor) for name, tensor in tensors.items()}
        for name, tensor in named.items():
            self._set(name, tensor)
            self._following.discard(name)
        for alias, source in self._aliases.items():
            if source in named and alias in self._missing | self._following:
                self._set(alias, named[source])
                self._following.add(alias)

    def detach(self, tensor_names: Iterable[str]) -> None:
        """Take back attached tensors, named as in the checkpoint, so that their memory can be released.

        No stage that needs them may run any more.
        """
        for name in map(self._module_name, tensor_names):
            followers = {alias for alias in self._following if self._aliases[alias] == name}
            for each in {name} | followers:
                self._set(each, self._parameters[each])
                self._missing.add(each)
            self._following -= followers

    def missing(self, first_unit: int, end_unit: int) -> tuple[str, ...]:
        """Name the parameters, as the modules call them, that units [first_unit, end_unit) still lack, sorted."""
        return tuple(sorted(name for name in self._missing if first_unit <= self.layout.unit_of(name) < end_unit))

    def _module_name(self, tensor_name: str) -> str:
        """Translate the checkpoint's name of a tensor into the modules' name of the parameter."""
        name, converter = core_model_loading.rename_source_key(
            tensor_name, self._renamings, self._converters, self.llm.base_model_prefix, self._parameters
        )
        if converter is not None:
            raise UnsupportedLlm(
                f"{type(self.llm).__name__}: `{tensor_name}` is merged with other tensors on loading, so it "
                "cannot be a view; only checkpoints whose tensors are the parameters are supported"
            )
        if name not in self._parameters:
            raise WrongTensor(f"{type(self.llm).__name__} has no parameter for the tensor `{tensor_name}`")
        return str(name)

    def _checked(self, tensor_name: str, tensor: torch.Tensor) -> torch.Tensor:
        wanted = self._parameters[self._module_name(tensor_name)]
        for what, found, expected in (
            ("shape", tuple(tensor.shape), tuple(wanted.shape)),
            ("dtype", tensor.dtype, wanted.dtype),
            ("device", tensor.device.type, self.device.type),
        ):
            if found != expected:
                raise WrongTensor(f"tensor `{tensor_name}` has the {what} {found}, but the LLM needs {expected}")
        return tensor

    def _set(self, name: str, tensor: torch.Tensor) -> None:
        module_name, _, leaf = name.rpartition(".")
        module = self.llm.get_submodule(module_name)
        if leaf in module._parameters:  # noqa: SLF001  setattr would refuse a change of device
            module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)  # noqa: SLF001
        else:
            module._buffers[leaf] = tensor  # noqa: SLF001
        self._missing.discard(name)


def _config(checkpoint_dir: Path) -> transformers.PreTrainedConfig:
    try:
        config: transformers.PreTrainedConfig = transformers.AutoConfig.from_pretrained(checkpoint_dir)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        # The cause says more than what it is wrapped in, whose text has several lines.
        said = " ".join(str(error.__cause__ or error).split())
        raise UnsupportedLlm(f"{checkpoint_dir / 'config.json'}: transformers does not take it: {said:.300}") from error
    return config


def _without_weights(
    config: transformers.PreTrainedConfig, dtype: torch.dtype, device: torch.device
) -> transformers.PreTrainedModel:
    """Build the causal LM on the meta device, then make the buffers real that no checkpoint holds."""
    attention.register()
    with torch.device("meta"):
        llm: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # transformers' own
            config, dtype=dtype, attn_implementation=attention.NAME
        )
    llm.train(mode=False)
    linear.prefer_onednn(llm, dtype=dtype, device=device)
    for module in llm.modules():
        transient = module._non_persistent_buffers_set  # noqa: SLF001  torch has no public name for them
        for name, buffer in list(module.named_buffers(recurse=False)):
            if name in transient:
                setattr(module, name, torch.empty_like(buffer, device=device))
        if transient:
            # The same function fills them when `from_pretrained` has built the LLM on the meta device.
            llm._init_weights(module)  # type: ignore[no-untyped-call]  # noqa: SLF001  transformers' own
    return llm


def end_tokens_of(checkpoint_dir: Path) -> frozenset[int]:
    """Tokens that end a generation, for the checkpoint whose configuration lies in this directory.

    Raises UnsupportedLlm for a configuration that `transformers` does not take.
    """
    return _end_tokens(checkpoint_dir, _config(checkpoint_dir))


def _end_tokens(checkpoint_dir: Path, config: transformers.PreTrainedConfig) -> frozenset[int]:
    """Tokens that end a generation, as `generate` reads them: generation_config.json before config.json."""
    ids: int | Iterable[int] | None = config.eos_token_id
    if (checkpoint_dir / "generation_config.json").exists():
        ids = transformers.GenerationConfig.from_pretrained(checkpoint_dir).eos_token_id
    if ids is None:
        return frozenset()
    return frozenset({ids} if isinstance(ids, int) else ids)
