"""The page of a plan: one HTML file that shows what is to happen and, given journals, what happened."""

from planner.page.render import render

__all__ = ["render"]
