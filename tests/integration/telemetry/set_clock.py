"""Runs a service whose wall clock goes ahead by so many milliseconds: `python set_clock.py MODULE MILLISECONDS`.

It plays a service on another host. The name of the machine stays the same, as that of a copied virtual machine does.
"""

from __future__ import annotations

import runpy
import sys
import time

module, milliseconds = sys.argv[1:]
real, real_ns, ahead_ns = time.time, time.time_ns, int(float(milliseconds) * 1e6)
time.time = lambda: real() + ahead_ns / 1e9
time.time_ns = lambda: real_ns() + ahead_ns
sys.argv = [module]
runpy.run_module(module, run_name="__main__", alter_sys=True)
