"""Runs the scenarios that are named on the command line, and says how each went."""

import os
import sys
import traceback

HOST, PORT = os.environ["PGHOST"], int(os.environ["PGPORT"])
USER, PASSWORD, DATABASE = os.environ["PGUSER"], os.environ["PGPASSWORD"], os.environ["PGDATABASE"]
CA, STRANGER_CA = os.environ["PGSSLROOTCERT"], os.environ["STRANGER_CA"]
RISING = list(range(1, 20001))


class Skip(Exception):
    """The driver has no such thing."""


def equal(found, expected, what=""):
    if found != expected:
        raise AssertionError(f"{what} {str(found)[:100]} instead of {str(expected)[:100]}".strip())


def refused(expected, action, *arguments, state=lambda error: error.sqlstate):
    """The action must fail with this SQLSTATE; any failure will do if that is None."""
    try:
        action(*arguments)
    except Exception as error:
        if expected is not None:
            if state(error) != expected:
                raise
        return error
    raise AssertionError(f"no error, instead of {expected}")


def run(version, scenarios):
    print(f"# {version}", flush=True)
    by_name = {scenario.__name__: scenario for scenario in scenarios}
    for name in sys.argv[1:]:
        try:
            if name not in by_name:
                raise Skip("not in this driver")
            by_name[name]()
            print(f"ok {name}", flush=True)
        except Skip as why:
            print(f"skip {name} {why}", flush=True)
        except Exception as error:
            if os.environ.get("TRACEBACK"):
                traceback.print_exc()
            print(f"not ok {name} {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
