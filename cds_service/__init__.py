"""The engine: speaks CDS Hooks and FHIR, knows no medicine.

    answer.py      parse -> gather -> read_record -> advise
    app.py         the same over HTTP: routes and the one error handler
    service.py     the seam between engine and medicine
    protocol/      what CDS Hooks defines: request, card, discovery, errors
    fhir/          what FHIR defines: codes, dates, the record, the validated view
    trust/         who may call, whose data it is and how much of it we take
    ledger/        what was decided and what became of it: chained, replayed, reported, audited
    arrangement.py what one client gets: services, dialect, FHIR servers
    worker.py      the server: queue, refusals, graceful end; health.py and metrics.py for who watches it
    outbound.py    how the commands reach other machines
    check/         the conformance check of any CDS service
    settings.py    every CDS_* variable
    cli.py         the commands; one module a group in commands/

This package imports nothing here, so that the medicine can use its types without loading a web framework.
"""
