"""A data folder for the tests and for what they generate: gone when they end, its secret always the same."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

_FOLDER = TemporaryDirectory(prefix="cds-service-tests-")
(Path(_FOLDER.name) / "secret").write_text(f"{'00' * 32}\n", encoding="ascii")
os.environ["CDS_DATA"] = _FOLDER.name
