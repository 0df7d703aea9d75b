# The operator's image: locked packages and one wheel on a slim Python, without anything to build or to log in with.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t egressgateway-operator:0.1.0 .
#
# python:3.13-slim of 2026-09: Python 3.13.15 on Debian 13.6, for all platforms. Renew the digest together with the tests.
ARG PYTHON=docker.io/library/python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# Packages change seldom and the code often: this layer outlives most changes.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /build \
    && /build/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-build.lock \
    && python -m venv --without-pip /app \
    && /build/bin/pip --python /app/bin/python install --require-hashes --only-binary=:all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY templates templates
COPY crds crds
RUN /build/bin/hatchling build -t wheel -d /dist \
    && /build/bin/pip --python /app/bin/python install --no-deps /dist/*.whl \
    # Compiled here, as the root is read-only where it runs.
    && /app/bin/python -m compileall -q -j 0 /app/lib

FROM ${PYTHON}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="egressgateway-operator" \
      org.opencontainers.image.description="One EgressGateway object, one working exit from the service mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Whoever gets in finds no shell, no package manager and no pip.
RUN ["python", "-c", "import glob, os, shutil; [shutil.rmtree(each) for each in glob.glob('/usr/local/lib/python3*/site-packages/pip*')]; \
[os.remove(each) for each in ('/usr/bin/apt', '/usr/bin/apt-get', '/usr/bin/dpkg', '/usr/bin/perl', '/usr/bin/bash', '/usr/bin/sh', '/usr/bin/dash') if os.path.lexists(each)]"]
COPY --from=build /app /app
# A home, as the user has no entry in passwd and the client of Kubernetes asks for one as soon as it is imported.
ENV HOME=/ PATH=/app/bin:/usr/local/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
# By number, so that `runAsNonRoot` can be checked.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["egressgw"]
CMD ["run"]
