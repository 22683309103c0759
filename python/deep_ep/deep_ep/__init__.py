"""The name `deep_ep` for transload.deep_ep."""
from transload.deep_ep import *  # noqa: F403
from transload.deep_ep import __all__, __version__

from . import _C, utils  # noqa: F401  # for who imports this module alone
