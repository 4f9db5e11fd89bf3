"""What every route is given: the daemon, the meter and the tokenizers in use."""

from typing import TypeAlias

import attrs
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from executor.api.metrics import Meter
from executor.api.order import Tokenizers
from executor.api.serving import Serving


@attrs.frozen(kw_only=True)
class Desk:
    """The things behind the routes, made once per application."""

    serving: Serving
    meter: Meter
    tokenizers: Tokenizers


# Not validated: it is ours, and there is nothing to convert.
GivenDesk: TypeAlias = NamedDependency[SkipValidation[Desk]]
