"""How this process asks its system for memory."""

import torch


def keep_freed_memory() -> None:
    """Let the C library keep the memory that one forward pass frees, for the next to use.

    glibc hands large blocks back to the system at once, and each then costs a page fault every
    4 KiB when it is asked for again. Freeing one block of just under 32 MiB, never written to,
    raises the size from which it does so; where the C library is another, nothing happens.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
