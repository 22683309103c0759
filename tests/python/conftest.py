"""Files of this folder need NumPy alone, those of folders in it torch too. Without torch one test says so."""
import importlib.util
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent
collect_ignore = [] if importlib.util.find_spec("torch") else [
    str(test) for test in FOLDER.glob("*/test_*.py") if test.name != "test_torch_is_here.py"]
