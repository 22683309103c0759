"""The name `deep_ep.utils.event` for transload.deep_ep.utils.event."""
from transload.deep_ep.utils.event import *  # noqa: F403
from transload.deep_ep.utils.event import __all__
