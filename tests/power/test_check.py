"""The check itself sees what is wrong: each kind of loss or garbage, put there by hand, is reported."""
import os
import random

import pytest

import history
from history import Rules, Step
from writers import Chooser, Executor

POWER_CUT = Rules(is_power_cut=True)
PROCESS_DIED = Rules(is_power_cut=False)


@pytest.fixture
def work(tmp_path):
    """(directory, steps) after 400 operations; all acknowledged."""
    os.umask(0)
    top = tmp_path / "top"
    chooser, executor = Chooser(7, syncs=True), Executor({"top": str(top)})
    chooser.kinds, chooser.weights = zip(*[(k, w) for k, w in zip(chooser.kinds, chooser.weights) if k != "sync_all"])
    steps = []
    for number in range(400):
        op = chooser.next()
        executor.run(op)
        chooser.model.apply(op, number)
        steps.append(Step(op, number))
        steps[-1].acked = number + 0.5
    for fd in executor.handles.values():
        os.close(fd)
    return top, steps


def a_file(top, steps, least=5000):
    """A file of some size that nothing has changed in the last 100 operations."""
    model = history.Model()
    for number, step in enumerate(steps):
        model.apply(step.op, number)
    names = {}
    for path, node in model.names.items():
        names.setdefault(node, []).append(path)
    found = [path for path, node in model.names.items() if node.kind == "file" and node.size >= least
             and node.versions[-1].step < 300 and len(names[node]) == 1]
    assert found
    return top / random.Random(3).choice(sorted(found))


@pytest.mark.parametrize("rules", [POWER_CUT, PROCESS_DIED])
@pytest.mark.parametrize("durable", [0, 200, 400])
def test_all_that_was_done_is_accepted(work, rules, durable):
    assert history.problems(*work, durable, rules) == []


def test_every_operation_was_among_them(work):
    assert {step.op["do"] for step in work[1]} >= {name[3:] for name in dir(history.Model) if name.startswith("do_")
                                                   } - {"sync_all"}


@pytest.mark.parametrize("rules", [POWER_CUT, PROCESS_DIED])
def test_a_moment_of_the_past_is_accepted_unless_it_is_older_than_promised(tmp_path, rules):
    os.umask(0)
    chooser, executor = Chooser(9, syncs=False), Executor({"top": str(tmp_path / "top")})
    steps = []
    for number in range(260):
        op = chooser.next()
        if number < 200:
            executor.run(op)
        chooser.model.apply(op, number)
        steps.append(Step(op, number))
        steps[-1].acked = number + 0.5
    found = history.find(tmp_path / "top")
    assert history.problems(tmp_path / "top", steps, 150, rules, found) == []
    assert history.problems(tmp_path / "top", steps, 250, rules, found) != []


def test_a_missing_file_is_seen(work):
    a_file(*work).unlink()
    assert "is missing" in "\n".join(history.problems(*work, 350, POWER_CUT))


def test_a_flipped_byte_is_seen(work):
    path = a_file(*work)
    with open(path, "r+b") as file:
        file.seek(4500)
        byte = file.read(1)
        file.seek(4500)
        file.write(bytes([byte[0] ^ 1]))
    assert "no version" in "\n".join(history.problems(*work, 350, POWER_CUT))


def test_a_truncated_file_is_seen(work):
    path = a_file(*work)
    os.truncate(path, path.stat().st_size - 1)
    assert "no version" in "\n".join(history.problems(*work, 350, PROCESS_DIED))


def test_a_left_over_is_seen(work):
    (work[0] / ".staging").write_text("half")
    assert "should not be there" in "\n".join(history.problems(*work, 350, POWER_CUT))


def test_a_wrong_mode_is_seen(work):
    a_file(*work).chmod(0o123)
    assert "mode is" in "\n".join(history.problems(*work, 350, POWER_CUT))


def test_a_name_that_came_back_is_seen(work):
    top, steps = work
    gone = next(step.op["path"] for step in reversed(steps[:340]) if step.op["do"] == "unlink"
                and not (top / step.op["path"]).exists() and (top / step.op["path"]).parent.exists())
    (top / gone).write_text("again")
    assert "should not be there" in "\n".join(history.problems(*work, 350, POWER_CUT))
