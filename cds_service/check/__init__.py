"""The conformance check of any CDS service over HTTP: what `cds-service check URL` runs.

    probes -> replies -> rules -> looks -> report

It knows the published rules of CDS Hooks and what the public test tools look at, and nothing of how a service works.
"""
