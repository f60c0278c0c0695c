"""How this process asks the operating system for memory."""

import torch


def keep_freed_memory() -> None:
    """Let the C library keep the memory that one forward pass frees, for the next one to use.

    glibc returns large blocks to the system at once, so each costs a page fault every 4 KiB when
    it is asked for again. Freeing one block of just under 32 MiB, which is never written to,
    raises the size from which glibc does so. With another C library nothing happens.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
