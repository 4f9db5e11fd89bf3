"""Certificates of optimality: claims, their values and the formulas that bound them."""

from specs.certificates.formula import ClosedForm, Inapplicable, Witnessed, derive
from specs.certificates.registry import FORMULAS, NO_FORMULA, certify, value_of

__all__ = ["FORMULAS", "NO_FORMULA", "ClosedForm", "Inapplicable", "Witnessed", "certify", "derive", "value_of"]
