# ebaysync without a database of its own: set EBAYSYNC_DATABASE_URL.
# Build: docker build -t ebaysync .   Run: docker run --rm --env-file env ebaysync run-all
FROM python:3.13-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/ebaysync \
 && /opt/ebaysync/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
# hatchling and editables are in the lock file, so nothing is fetched unchecked.
RUN /opt/ebaysync/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/ebaysync ebaysync
COPY --from=build /opt/ebaysync /opt/ebaysync
ENV PATH=/opt/ebaysync/bin:$PATH \
    EBAYSYNC_HOME=/var/lib/ebaysync \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/ebaysync
VOLUME /var/lib/ebaysync
ENTRYPOINT ["ebaysync"]
CMD ["--help"]
