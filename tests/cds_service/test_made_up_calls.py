"""Calls made up from GET /openapi.json: nothing breaks, and every answer is one that the description knows."""

import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from cds_service.app import create_app
from cds_service.settings import Settings
from tests.conftest import TODAY

APP = create_app(settings=Settings(log_level="error", fhir_servers=(), fhir_loopback=False), today=lambda: TODAY)
# What the description allows is read, though the data may be missing (412) or of somebody else (422): 400 is a mistake.
CONFIG = schemathesis.Config.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": [200, 412, 422]}}},
)
API = schemathesis.openapi.from_wsgi("/openapi.json", APP, config=CONFIG)


@API.parametrize()
@settings(max_examples=100)
def test_every_answer_is_as_described(case):
    # Requests are read more leniently than they are described: that they are taken is no mistake.
    case.call_and_validate(excluded_checks=[negative_data_rejection])
