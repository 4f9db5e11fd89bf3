"""The demo: five daemons on this machine serve an LLM while four of them are still loading it."""
