"""The name `deep_ep.utils` for transload.deep_ep.utils."""
from transload.deep_ep.utils import *  # noqa: F403
from transload.deep_ep.utils import __all__

from . import event  # noqa: F401
