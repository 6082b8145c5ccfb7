"""A data folder for the tests and for what they generate: gone when they end, its secret always the same."""

import os
from multiprocessing import parent_process
from pathlib import Path
from tempfile import TemporaryDirectory

if parent_process() is None:  # else it is that of the process that started this one, and that will take it away
    _FOLDER = TemporaryDirectory(prefix="cds-service-tests-")
    (Path(_FOLDER.name) / "secret").write_text(f"{'00' * 32}\n", encoding="ascii")
    os.environ["CDS_DATA"] = _FOLDER.name
