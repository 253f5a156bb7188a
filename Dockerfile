# The image of log-anomaly-exporter.
#
#   docker build -t log-anomaly-exporter .
#   docker build -t log-anomaly-exporter:embeddings --build-arg EXTRA=embeddings .
#
# The variant `embeddings` carries sentence-transformers, and with it torch, which is gigabytes.

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
# `embeddings`, or nothing.
ARG EXTRA=
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /build
COPY constraints.txt pyproject.toml ./
# What is installed has the hashes of constraints.txt; pip compares them for requirements alone.
RUN python -m venv --without-pip /opt/venv \
    && sed -n '/^uv==/,/[^\]$/p' constraints.txt > uv.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --no-deps -r uv.txt
# The dependencies first: they change more rarely than the code.
RUN uv pip install --python /opt/venv/bin/python -c constraints.txt -r pyproject.toml ${EXTRA:+--extra ${EXTRA}}
# Of packages, what only those need who develop them.
RUN find /opt/venv/lib -type d '(' -name tests -o -name test ')' -prune -exec rm -rf '{}' + \
    && find /opt/venv/lib '(' -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.a' ')' -delete
COPY README.md LICENSE ./
COPY exporter exporter
COPY integrations integrations
RUN uv pip install --python /opt/venv/bin/python --build-constraints constraints.txt --no-deps .
# The rules of redaction are compiled once, which takes seconds, and not at each start of a container.
RUN XDG_CACHE_HOME=/opt/cache /opt/venv/bin/python -c 'from exporter.ingest.redaction.library import library; library()' \
    && chmod -R a+rX /opt/cache

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="log-anomaly-exporter" \
      org.opencontainers.image.description="Turns the logs in Elasticsearch or Loki into few, explained incidents" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 exporter \
    && useradd --uid 10001 --gid exporter --home-dir /var/lib/log-anomaly-exporter --create-home \
        --shell /usr/sbin/nologin exporter
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/cache/log-anomaly-exporter/rules /usr/share/log-anomaly-exporter/rules
COPY LICENSE /usr/share/doc/log-anomaly-exporter/LICENSE
COPY dashboards /usr/share/log-anomaly-exporter/dashboards
COPY alert_rules /usr/share/log-anomaly-exporter/alert_rules
# numba and matplotlib, which pyod brings, want a place of their own to write to; the root may be read-only.
# A container is reached from outside: pages and metrics can be read, what changes anything wants a token.
ENV PATH=/opt/venv/bin:$PATH \
    LOG_ANOMALY_EXPORTER_LISTEN=:9464 \
    LOG_ANOMALY_EXPORTER_RULES=/usr/share/log-anomaly-exporter/rules \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    HF_HOME=/var/lib/log-anomaly-exporter/models
USER 10001:10001
# The state file belongs here: mount a volume.
WORKDIR /var/lib/log-anomaly-exporter
VOLUME /var/lib/log-anomaly-exporter
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/-/healthy', timeout=4)"]
ENTRYPOINT ["log-anomaly-exporter"]
CMD ["run", "-c", "/etc/log-anomaly-exporter/exporter.yml"]
