"""The commands of `holdfast`: one module each, listed in `planner.cli.app`."""
