"""The medicine: one folder for each clinical question, and no HTTP, no FHIR JSON, no clock in any of them."""

from hooks import failed_esi

SERVICES = (failed_esi.service,)
