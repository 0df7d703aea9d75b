# The operator's image: locked packages and one wheel on a slim Python, without anything to build or to log in with.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t egressgateway-operator:0.1.0 .
#
# python:3.13-slim of 2026-09: Python 3.13.15 on Debian 13.6, for all platforms. Renew the digest together with the tests.
ARG PYTHON=docker.io/library/python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${PYTHON} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# The secrets are for builds behind a proxy with a CA of its own (docs/install.md): without them nothing is mounted.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python -m venv /build \
    && /build/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-build.lock \
    && python -m venv --without-pip /app \
    && /build/bin/pip --python /app/bin/python install --require-hashes --only-binary=:all: --requirement requirements.lock \
    # Nothing of it is for a shell, and none of the packages' own programs is called.
    && find /app/bin -mindepth 1 ! -name 'python*' -delete \
    # Of the package `kubernetes` the operator reads credentials alone; each kind's classes, imported when first used, are 110 MB.
    && find /app/lib -path '*/kubernetes/*client/models/*' ! -name __init__.py -delete \
    && find /app/lib -path '*/kubernetes/*client/api/*' ! -name __init__.py -delete \
    # Compiled here, as the root is read-only where it runs.
    && /app/bin/python -m compileall -q -j 0 /app/lib

FROM packages AS build
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY templates templates
COPY crds crds
COPY docs/troubleshooting.md docs/troubleshooting.md
# Apart from the packages: after a change of the code alone, this is all that a node has to pull.
RUN /build/bin/hatchling build -t wheel -d /dist \
    && /build/bin/pip --python /app/bin/python install --no-deps --root /own /dist/*.whl \
    && /app/bin/python -m compileall -q -s /own -p / /own/app/lib

# Somebody who gets in finds Python, and no other program.
FROM ${PYTHON} AS root
COPY deploy/image/strip.py /strip.py
RUN ["python", "/strip.py"]

# From nothing: what was removed above is in no layer.
FROM scratch
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="egressgateway-operator" \
      org.opencontainers.image.description="One EgressGateway object, one working exit from the service mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3067
COPY --from=root / /
COPY --from=packages /app /app
COPY --from=build /own/app /app
# A home, as the user has no entry in passwd and the client of Kubernetes asks for one as soon as it is imported.
ENV HOME=/ LANG=C.UTF-8 PATH=/app/bin:/usr/local/bin:/usr/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
# By number, so that `runAsNonRoot` can be checked.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["egressgw"]
CMD ["run"]
