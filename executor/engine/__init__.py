"""The engine: computes tokens with `transformers` causal LMs that are cut into stages."""
