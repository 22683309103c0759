"""python -m transload ARGUMENTS: runs the program `transload`, which is part of the package."""
import os
import pathlib
import sys

PROGRAM = pathlib.Path(__file__).parent / "bin" / "transload"


def main():
    os.execv(PROGRAM, ["transload", *sys.argv[1:]])


if __name__ == "__main__":
    main()
