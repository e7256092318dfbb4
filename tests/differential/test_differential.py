"""Random sequences of system calls on Tarn and on ext4: every result, attribute and byte is the same.

The seed is new in every run; TARN_SEED=N repeats one. A sequence that differs is shortened to the
operations that matter, and those are printed.
"""
import itertools
import os
import random
import shutil
import time

import pytest

from disks import drop_caches
from operations import Place, make_up, tree

LONG = os.environ.get("TARN_LONG") == "1"
ROUNDS = 60 if LONG else 4
COUNT = 4000 if LONG else 2500
EVENTS = 5
SHORTENING_RUNS_MAX, SHORTENING_SECONDS_MAX = 400, 240
SEED = int(os.environ.get("TARN_SEED", random.randrange(10**6)))

numbers = itertools.count()


def compare(server, reference, operations, events, end):
    """The index of the first operation whose results differ and both, or None.

    `events`: index -> what befalls Tarn after that operation: "settle" (all becomes durable, the
    kernel's caches are dropped) or "kill worker" (the next operation meets the one that takes over).
    `end`: what happens before the trees are compared: "", "stop" or "kill" (and a new start).
    """
    if "kill worker" in events.values():
        # A keeper gives up at more than five deaths in a minute; a new one counts anew.
        server.stop()
        server.start()
    number = next(numbers)
    folders = [server.mnt / f"run{number}", reference / f"run{number}"]
    places = []
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o777)
        places.append(Place(folder))
    try:
        for index, operation in enumerate(operations):
            ours, theirs = (place.run(operation) for place in places)
            if ours != theirs:
                return index, ours, theirs
            if events.get(index) == "settle":
                server.command("sync", str(server.root))
                drop_caches()
            elif events.get(index) == "kill worker":
                # Alive again before the next kill: the keeper gives up on one that only dies.
                server.wait_for_new_worker(server.kill_worker())
        for place in places:
            place.close()
        if end == "stop":
            server.stop()
            server.start()
        elif end == "kill":
            # What was not synced may go with the whole program, as with a power cut.
            server.command("sync", str(server.root))
            server.kill_all()
            server.start()
        ours, theirs = (tree(folder) for folder in folders)
        for path in sorted(ours.keys() | theirs.keys()):
            if ours.get(path) != theirs.get(path):
                return len(operations), (path, ours.get(path)), (path, theirs.get(path))
        return None
    finally:
        for place in places:
            place.close()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def shorten(server, reference, operations, events, end):
    """Leaves out what the difference does not need: halves first, then ever smaller pieces.
    Gives operations with the event after each."""
    marked = [(operation, events.get(index)) for index, operation in enumerate(operations)]
    runs, piece = 0, max(1, len(marked) // 2)
    until = time.monotonic() + SHORTENING_SECONDS_MAX
    while piece >= 1 and runs < SHORTENING_RUNS_MAX and time.monotonic() < until:
        start, was_cut = 0, False
        while start < len(marked) and runs < SHORTENING_RUNS_MAX and time.monotonic() < until:
            fewer = marked[:start] + marked[start + piece:]
            runs += 1
            found = compare(server, reference, *split(fewer), end)
            if found is not None:
                marked, was_cut = fewer[:found[0] + 1], True
            else:
                start += piece
        if piece == 1 and not was_cut:
            break
        piece = max(1, piece // 2) if piece > 1 or was_cut else 0
    return marked


def split(marked):
    return [operation for operation, _ in marked], {i: event for i, (_, event) in enumerate(marked) if event}


def shown(value):
    text = repr(value)
    return text if len(text) < 600 else f"{text[:600]}... ({len(text)} characters)"


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.timeout(1200)
def test_every_result_is_that_of_ext4(server, reference, turn):
    seed = SEED + turn
    operations = make_up(seed, COUNT)
    rng = random.Random(seed)
    kinds = ((), ("settle",), ("kill worker",), ("settle", "kill worker"))[turn % 4]
    events = {rng.randrange(COUNT): rng.choice(kinds) for _ in range(EVENTS)} if kinds else {}
    end = ("", "kill", "", "stop")[turn % 4]
    found = compare(server, reference, operations, events, end)
    if found is None:
        return
    marked = shorten(server, reference, operations[:found[0] + 1], events, end)
    again = compare(server, reference, *split(marked), end) or found
    lines = [f"{operation!r}{f'  # then: {event}' if event else ''}" for operation, event in marked]
    pytest.fail("\n".join([f"seed {seed} (TARN_SEED={SEED}), of {len(operations)} operations these matter:",
                           *lines, f"and before the trees are compared: {end or 'nothing'}",
                           f"Tarn: {shown(again[1])}", f"ext4: {shown(again[2])}"]), pytrace=False)
