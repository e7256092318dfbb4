"""Runs a function as another user, in a child process."""
import os
import pickle


def as_user(uid, gid, function, groups=()):
    """What `function()` returns, or the errno of the OSError it raised (as ('errno', N))."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            try:
                result = ("value", function())
            except OSError as error:
                result = ("errno", error.errno)
            with os.fdopen(write_end, "wb") as out:
                pickle.dump(result, out)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as source:
        data = source.read()
    os.waitpid(pid, 0)
    assert data, "the child died"
    kind, value = pickle.loads(data)
    return value if kind == "value" else (kind, value)


def denied(number):
    return ("errno", number)
