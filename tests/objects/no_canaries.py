"""What ships holds no canary and counts no mark: no object of the library or the program, but for the simulator's,
refers to the switch of the one or the counter of the other.

no_canaries.py SOURCE_DIR COMPILER OBJECT...
"""
import os
import subprocess
import sys
import tempfile

TRACES = "canary_is_planted", "count_reached"
LIVE = """#include "base/situations.h"
using namespace transload;
bool probe() { return reached<LivePlants>(Situation::kSlept), planted<LivePlants>(Canary::kRingWrap); }
"""


def symbols(path):
    return subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout


def is_simulator(path):
    folders, name = os.path.split(path)
    return "sim" in folders.split("/") or name.startswith(("sim.", "sim_"))


def check_the_tool(source_dir, compiler):
    with tempfile.TemporaryDirectory() as folder:
        source, made = os.path.join(folder, "probe.cc"), os.path.join(folder, "probe.o")
        with open(source, "w", encoding="utf-8") as file:
            file.write(LIVE)
        command = [compiler, "-std=c++20", "-O2", "-I", os.path.join(source_dir, "src"), "-c", source, "-o", made]
        subprocess.run(command, check=True)
        for trace in TRACES:
            if trace not in symbols(made):
                sys.exit(f"a live canary or mark is not seen: nm does not show {trace}")


def main():
    source_dir, compiler, *objects = sys.argv[1:]
    check_the_tool(source_dir, compiler)
    shipped = [path for path in objects if path.endswith(".o") and not is_simulator(path)]
    texts = {path: symbols(path) for path in shipped}
    for role in "run_dispatch_sender", "run_combine_forwarder":
        if not any(role in text for text in texts.values()):
            sys.exit(f"none of {len(shipped)} objects holds {role}: these are not the library's objects")
    holders = [(path, trace) for path, text in texts.items() for trace in TRACES if trace in text]
    for path, trace in holders:
        print(f"{path} refers to {trace}")
    print(f"{len(shipped)} objects, {len(holders)} with canaries or marks")
    sys.exit(1 if holders else 0)


main()
