"""Makes LLM API calls from processes that are born in different ways, each on a connection of its
own. Prints one JSON line for each call, with the pid that made it.

    family.py fork    a child that does not exec calls, then the parent
    family.py exec    calls, replaces itself by the same program, and calls again
    family.py tree    a child, a grandchild and the parent call, with the parents still alive
"""

import os
import sys

import calls


def call():
    sys.argv[1:] = ["stdlib", "messages"]
    calls.run(calls.arguments())


def fork_and_call(then=lambda: None):
    child = os.fork()
    if child == 0:
        call()
        then()
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def main():
    mode = sys.argv[1]
    if mode == "fork":
        fork_and_call()
    elif mode == "tree":
        fork_and_call(then=fork_and_call)
    elif mode == "exec":
        call()
        # Under another name, so that it can be told which program made which call.
        os.execv(sys.executable, ["after-exec", __file__, "last"])
    call()


if __name__ == "__main__":
    main()
