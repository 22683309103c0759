"""python -m transload ARGUMENTS: the program `transload`, which is in the package."""
import os
import pathlib
import sys

PROGRAM = pathlib.Path(__file__).parent / "bin" / "transload"


def main():
    os.execv(PROGRAM, ["transload", *sys.argv[1:]])


if __name__ == "__main__":
    main()
