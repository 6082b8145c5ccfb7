# Two stages: build the wheel, then a slim image that holds nothing but Python and the service. What others wrote comes
# from the locks, by its hash (make lock).
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY cds_service cds_service
COPY hooks hooks
COPY fixtures fixtures
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist .

FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CDS_HOST=0.0.0.0 CDS_PORT=8000 CDS_DATA=/data
COPY requirements.lock /tmp/
COPY --from=build /dist/*.whl /tmp/
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r /tmp/requirements.lock && \
    pip install --no-cache-dir --no-deps --no-index /tmp/*.whl && rm /tmp/*.whl /tmp/requirements.lock && pip check && \
    python -m compileall -q /usr/local/lib/python3.13/site-packages
# No home, no shell, no write access: the root file system may be mounted read-only.
RUN useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin cds && install -d -o cds /data
# The ledger and its secret: the only place that is written.
VOLUME /data
USER 65532
# It listens beyond the container, so it does not start without a clients file (CDS_CLIENTS), unless CDS_INSECURE=1.
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["cds-service"]
CMD ["serve"]
