"""Prepare the fork server: it imports this module once, before it forks, which is all that multiprocessing offers.

Nothing else imports it: a variable of a user with the same name has no effect. multiprocessing may start another server
without the variable, which loads nothing.
"""

from __future__ import annotations

import os

from eechips.engine.executors.worker_preload import VARIABLE, preload

if VARIABLE in os.environ:
    preload(os.environ.pop(VARIABLE))
