"""python -m cds_service: the same commands as cds-service."""

from cds_service.cli import main

main(prog_name="cds-service")
