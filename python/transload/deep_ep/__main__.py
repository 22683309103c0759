"""python -m transload.deep_ep SCRIPT ARGS: runs a script that imports deep_ep, with this module in its place.

Processes that the script starts import this module too, whatever else is installed under that name.
"""
import os
import pathlib
import runpy
import sys

IN_PLACE = pathlib.Path(__file__).parent / "in_place"


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m transload.deep_ep SCRIPT ARGS", file=sys.stderr)
        return 0 if len(sys.argv) > 1 else 2
    script = pathlib.Path(sys.argv[1])
    if not script.is_file():
        print(f"python -m transload.deep_ep: script: {str(script)!r}, must be a file", file=sys.stderr)
        return 2
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(IN_PLACE), before] if before else [str(IN_PLACE)])
    sys.argv = sys.argv[1:]
    sys.path[:1] = [str(script.resolve().parent), str(IN_PLACE)]  # the first was the folder of this call
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
