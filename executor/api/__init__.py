"""The public face of a node: OpenAI-compatible HTTP, health, metrics, plans and the journal."""
