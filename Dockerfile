# Build with the version and commit it is built from:
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD) -t databricks-jobs-exporter .
# Run it locked down; everything it writes goes to the volume:
#   docker run --read-only --cap-drop ALL -v exporter-state:/var/lib/databricks-jobs-exporter -p 9977:9977 \
#     -e DATABRICKS_HOST -e DATABRICKS_TOKEN databricks-jobs-exporter
# The base names a patch release of Python. deploy/README.md shows how to pin its digest, and when to take a newer one.
ARG BASE=python:3.13.18-slim-trixie

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Dependencies first: this layer is built again only when a lock file changes.
COPY requirements.txt requirements-build.txt ./
RUN pip install --quiet --require-hashes -r requirements-build.txt \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY deploy/__init__.py deploy/sbom.py deploy/
RUN python -m hatchling build -t wheel \
    && pip --python /opt/venv/bin/python install --quiet --no-index --no-deps dist/*.whl \
    && python -m deploy.sbom /usr/share/sbom/databricks-jobs-exporter.cdx.json

FROM ${BASE}
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="databricks-jobs-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Databricks job runs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A new named volume takes over the owner of the folder it is mounted on.
RUN install -d -o 65532 -g 65532 -m 0750 /var/lib/databricks-jobs-exporter
COPY --from=build /opt/venv /opt/venv
# What is in the environment above, as CycloneDX; scanners of images know it by the end of its name.
COPY --from=build /usr/share/sbom /usr/share/sbom
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATABRICKS_EXPORTER_STATE_PATH=/var/lib/databricks-jobs-exporter/databricks-jobs-exporter.db
# By number, so that Kubernetes' runAsNonRoot can check it.
USER 65532:65532
WORKDIR /var/lib/databricks-jobs-exporter
VOLUME /var/lib/databricks-jobs-exporter
EXPOSE 9977
# slim has no curl. Follows the listen address and TLS where they are set by environment variable; one set by
# flag, or a web.config.file that demands client certificates, wants its own --health-cmd. http.client and not
# urllib: a proxy from the environment must not be asked for loopback.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["python", "-I", "-c", "\
import http.client, os, ssl, sys; \
host, _, port = os.environ.get('DATABRICKS_EXPORTER_WEB_LISTEN_ADDRESS', ':9977').rpartition(':'); \
file = os.environ.get('DATABRICKS_EXPORTER_WEB_CONFIG_FILE'); \
tls = bool(file) and 'tls_server_config:' in open(file).read(); \
address = (host.strip('[]') or '127.0.0.1', int(port)); \
unverified = ssl._create_unverified_context(); \
peer = http.client.HTTPSConnection(*address, timeout=4, context=unverified) if tls \
  else http.client.HTTPConnection(*address, timeout=4); \
peer.request('GET', '/-/healthy'); \
sys.exit(peer.getresponse().status != 200)"]
ENTRYPOINT ["databricks-jobs-exporter"]
