"""What a suite has to say at its end, also when everything passed.

tell() is shown with a failure; report() in the summary, by the hook that each suite's conftest takes
over: `from telling import pytest_terminal_summary`.
"""
REPORTS = []


def tell(text):
    print(text, flush=True)


def report(text):
    tell(text)
    REPORTS.append(text)


def pytest_terminal_summary(terminalreporter):
    if REPORTS:
        terminalreporter.section("what was done")
        for line in REPORTS:
            terminalreporter.write_line(line)
