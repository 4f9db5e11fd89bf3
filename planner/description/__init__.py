"""What a person writes and Holdfast understands: YAML descriptions and Hugging Face checkpoints become nouns."""
