"""The name `deep_ep` for transload.deep_ep."""
from transload.deep_ep import *  # noqa: F403
from transload.deep_ep import __all__, __version__
