# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/creditledger
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/creditledger/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY domain domain
COPY projections projections
COPY api api
COPY consumers consumers
COPY infra infra
RUN /opt/creditledger/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --no-create-home creditledger
COPY --from=build /opt/creditledger /opt/creditledger
ENV PATH=/opt/creditledger/bin:$PATH PYTHONUNBUFFERED=1 CREDITLEDGER_HOST=0.0.0.0
USER creditledger
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["creditledger"]
CMD ["serve"]
