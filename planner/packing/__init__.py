"""Transfers on any topology: steady state by packing trees at the prices of links, then a schedule of whole pieces."""
