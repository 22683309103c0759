"""What pip builds the package with: scikit-build-core, one build at a time, for those of a clone share a folder."""
import contextlib
import fcntl
import pathlib
import tempfile

from scikit_build_core import build
from scikit_build_core.build import *  # noqa: F403  # the other hooks

_FOLDER = pathlib.Path("build/python")  # pip calls from the clone


@contextlib.contextmanager
def _alone(settings):
    """The settings of a build: where the clone cannot be written, it lies in a folder of its own."""
    try:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        lock = open(_FOLDER / "lock", "a", encoding="utf-8")
    except OSError:
        with tempfile.TemporaryDirectory(prefix="transload-build-") as folder:
            yield {"build-dir": folder, **(settings or {})}
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield settings


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with _alone(config_settings) as settings:
        return build.build_wheel(wheel_directory, settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with _alone(config_settings) as settings:
        return build.build_editable(wheel_directory, settings, metadata_directory)
