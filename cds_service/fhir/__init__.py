"""What FHIR R4 defines: codes, dates, resources as plain facts, and the validated view of them."""
