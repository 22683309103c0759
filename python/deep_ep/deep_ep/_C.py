"""The name `deep_ep._C` for transload.deep_ep._C."""
from transload.deep_ep._C import *  # noqa: F403
from transload.deep_ep._C import __all__
