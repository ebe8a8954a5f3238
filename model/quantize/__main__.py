"""Runs `python -m model.quantize`."""

import signal
import sys

from runtime.garbage_collection import collect_rarely

collect_rarely()
try:
    # Imported here, since that takes seconds, and Ctrl-C may come meanwhile.
    from model.quantize.quantization import main
    from runtime import bentoml_defaults

    bentoml_defaults.use()
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
