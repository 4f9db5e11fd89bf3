"""Where LLMs and adapters wait for requests, and how they start: see `specs.decisions.placement`."""
