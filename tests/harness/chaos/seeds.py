"""What the disturbances are drawn from. Each test prints it; a failure is repeated with the same."""

from __future__ import annotations

import os
from typing import Final

SEED: Final = int(os.environ.get("EGRESSGATEWAY_CHAOS_SEED", "20261130"))
KILLS: Final = int(os.environ.get("EGRESSGATEWAY_CHAOS_KILLS", "40"))
