"""Keys and values of the requests of one stage: a fixed place per request, written in place, never moved."""

import torch
import transformers


class SlotCache:
    """For each layer of the stage, keys and values of shape [slots, kv heads, context tokens, head dimension].

    Zeros at first: attention over a padded length multiplies what it masks by zero, which must be finite.
    """

    def __init__(
        self,
        config: transformers.PreTrainedConfig,
        *,
        layers: range,
        slots: int,
        context_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (slots, kv_heads(config), context_tokens, head_dimension(config))
        self.device = device
        self.slots = slots
        self.context_tokens = context_tokens
        self.keys = {layer: torch.zeros(shape, dtype=dtype, device=device) for layer in layers}
        self.values = {layer: torch.zeros(shape, dtype=dtype, device=device) for layer in layers}

    def write(
        self, layer: int, slots: torch.Tensor, positions: torch.Tensor, kv: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        """Put keys and values [1, kv heads, T, head dimension] of T tokens into their slots [T] and positions [T]."""
        self.keys[layer][slots, :, positions] = kv[0][0].transpose(0, 1)
        self.values[layer][slots, :, positions] = kv[1][0].transpose(0, 1)


def kv_heads(config: transformers.PreTrainedConfig) -> int:
    """Heads of the keys and values of each layer."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def head_dimension(config: transformers.PreTrainedConfig) -> int:
    """Width of each head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
