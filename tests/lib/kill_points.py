"""The kill points that the sources name (TARN_KILL_POINT("room.what"))."""
import pathlib
import re

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"


def kill_points():
    found = set()
    for file in [*SRC.rglob("*.cc"), *SRC.rglob("*.h")]:
        if not file.name.endswith("_test.cc") and file.name != "kill_point.h":
            found |= set(re.findall(r'TARN_KILL_POINT\("([\w.]+)"\)', file.read_text()))
    return sorted(found)
