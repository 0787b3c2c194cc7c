"""``python -m harness.worker JOB_FOLDER [SKIPPED_POINT ...]``"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.worker.run import main

sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
