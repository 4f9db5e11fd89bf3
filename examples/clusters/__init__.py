"""Clusters of different shape, and problems on them."""
