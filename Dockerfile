# One image for dealer, parties and client. Needs no torch; the native kernels are compiled in the first stage.
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
# Where no package registry is reachable: put wheels into deploy/wheels/ and build with PIP_NO_INDEX=1.
ARG PIP_NO_INDEX=
ENV PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN command -v g++ || { apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*; }
RUN python3 -m venv /opt/venv
WORKDIR /src
COPY deploy/wheels/ /wheels/
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE requirements.lock ./
COPY privinf/ privinf/
COPY protocols/ protocols/
COPY models/ models/
COPY parties/ parties/
RUN /opt/venv/bin/pip wheel --no-deps --wheel-dir /dist . \
    && /opt/venv/bin/pip install --constraint requirements.lock "$(ls /dist/privinf-*.whl)[node]"
# The extension is optional to setup.py: without this check a failed build would serve from the slow reference.
WORKDIR /
RUN /opt/venv/bin/python -c "from privinf.protocols import kernels; assert not kernels.why_reference()" \
    && /opt/venv/bin/privinf --help >/dev/null \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${BASE} AS runtime
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# As in privinf/local.py: large arrays come and go, and page faults cost an eighth of a query.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TOP_PAD_=67108864 MALLOC_TRIM_THRESHOLD_=1073741824
RUN groupadd --gid 10001 privinf \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin privinf \
    && for role in dealer party0 party1 client; do \
         install --directory --owner 10001 --group 10001 --mode 0700 "/keys/$role" || exit 1; done \
    && install --directory --owner 10001 --group 10001 --mode 0700 /store
COPY --from=builder /opt/venv /opt/venv
COPY deploy/make_keys.sh deploy/probe.py /opt/privinf/
USER 10001:10001
ENTRYPOINT ["privinf"]
CMD ["--help"]
