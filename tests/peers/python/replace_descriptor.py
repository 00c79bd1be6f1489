"""Has another process replace one of its descriptors by its standard input.

    replace_descriptor.py PID DESCRIPTOR...

What the descriptor stood for is gone then, and the process is not told: it is what a fault inside of
it would do. The call is made by ptrace(2), on x86-64.
"""

import ctypes
import os
import sys

PTRACE_SINGLESTEP, PTRACE_GETREGS, PTRACE_SETREGS = 9, 12, 13
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
DUP2 = 33

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Registers(ctypes.Structure):
    """`struct user_regs_struct` (sys/user.h)."""

    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in (
            "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp"
            " ss fs_base gs_base ds es fs gs"
        ).split()
    ]


def ptrace(request, pid, address=None, data=None):
    if libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


def wait_for_stop(pid):
    _, status = os.waitpid(pid, 0x40000000)  # __WALL
    if not os.WIFSTOPPED(status):
        raise OSError(f"it did not stop: {status:#x}")


def system_call_instruction(pid):
    """Address of a `syscall` instruction in the kernel's own page of functions."""
    with open(f"/proc/{pid}/maps") as maps:
        line = next(line for line in maps if line.rstrip().endswith("[vdso]"))
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        at = memory.read(end - start).find(b"\x0f\x05")
    if at < 0:
        raise OSError("no such instruction")
    return start + at


def main():
    pid, descriptors = int(sys.argv[1]), [int(number) for number in sys.argv[2:]]
    ptrace(PTRACE_SEIZE, pid)
    ptrace(PTRACE_INTERRUPT, pid)
    wait_for_stop(pid)
    before, registers = Registers(), Registers()
    ptrace(PTRACE_GETREGS, pid, None, ctypes.addressof(before))
    instruction = system_call_instruction(pid)
    for descriptor in descriptors:
        ctypes.memmove(ctypes.addressof(registers), ctypes.addressof(before), ctypes.sizeof(before))
        registers.rip, registers.rax, registers.orig_rax = instruction, DUP2, 2**64 - 1
        registers.rdi, registers.rsi = 0, descriptor
        ptrace(PTRACE_SETREGS, pid, None, ctypes.addressof(registers))
        ptrace(PTRACE_SINGLESTEP, pid)
        wait_for_stop(pid)
        ptrace(PTRACE_GETREGS, pid, None, ctypes.addressof(registers))
        if registers.rax != descriptor:
            raise OSError(f"dup2 gave {registers.rax:#x}")
    ptrace(PTRACE_SETREGS, pid, None, ctypes.addressof(before))
    ptrace(PTRACE_DETACH, pid)


main()
