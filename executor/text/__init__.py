"""Text on both sides of the tokens: tokenizer and chat template before, incremental text and stop strings after."""
