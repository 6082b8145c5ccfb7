"""Load figures: the service against the floor, the same request, interleaved in one run."""
