"""The search for pipelines over unequal devices, and for machines that hold runs of layers.

`search.lay_out` answers `specs.decisions.layout`; `spans` answers `specs.decisions.layout.spans`.
"""
