"""Which machine this is, as far as its clock goes.

Owns the name by which two processes find out that they share a clock. Asked by services that compare stamps.

The boot id of Linux is one for all containers of a machine, as CLOCK_REALTIME is: time namespaces have monotonic clocks
of their own, never another wall clock. Copies of a running virtual machine have the same boot id and may have other
clocks; `lanecast.core.clock` notices that.
"""

from __future__ import annotations

import platform
import uuid
from functools import cache
from hashlib import sha256
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def host_name() -> str:
    """Return a name of this start of this machine that tells nothing else. Never empty."""
    try:
        boot = _BOOT_ID.read_bytes().strip()
    except OSError:  # not Linux: the network card tells machines apart
        boot = f"{platform.node()}:{uuid.getnode()}".encode()
    return sha256(b"lanecast:" + boot).hexdigest()[:16]
